//! How `shop-sidecar drain` reaches the running sidecar: a Unix socket in the state folder, which only this container has.
//!
//! The admin port would not do: it is open to the network, and nobody there may take a pod out of service.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::drain::DrainControl;

const SOCKET: &str = "control.sock";
const BEGIN: &[u8] = b"drain\n";
const BEGUN: &[u8] = b"begun\n";
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the running sidecar could not be told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no sidecar listens at {0}; is it running, and is SHOP_STATE_DIR the same?")]
    Connect(PathBuf, #[source] io::Error),
    /// It does not answer.
    #[error("the sidecar did not confirm the drain; look at its log")]
    NoAnswer,
}

/// Listens for commands. An old socket of a container before this one is replaced.
pub(crate) fn listen(state_dir: &Path) -> io::Result<UnixListener> {
    let path = state_dir.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Answers commands; never returns.
pub(crate) async fn serve(listener: UnixListener, drain: Arc<DrainControl>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // One after the other: a command takes no time, and nobody else can connect.
        let _ = tokio::time::timeout(PATIENCE, answer(stream, &drain)).await;
    }
}

async fn answer(mut stream: UnixStream, drain: &Arc<DrainControl>) -> io::Result<()> {
    let mut command = [0; BEGIN.len()];
    stream.read_exact(&mut command).await?;
    if command == BEGIN {
        drain.begin();
        stream.write_all(BEGUN).await?;
    }
    Ok(())
}

/// Begins the drain of the sidecar that runs with this state folder.
pub async fn begin_drain(state_dir: &Path) -> Result<(), ControlError> {
    let path = state_dir.join(SOCKET);
    let mut stream = UnixStream::connect(&path).await.map_err(|error| ControlError::Connect(path, error))?;
    let mut confirmation = [0; BEGUN.len()];
    let asked = async {
        stream.write_all(BEGIN).await?;
        stream.read_exact(&mut confirmation).await
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(_)) if confirmation == BEGUN => Ok(()),
        _ => Err(ControlError::NoAnswer),
    }
}
