//! Whether this process does the background work, as its sidecar says: `GET /role`, asked again and again, each answered when the
//! epoch is another one. Without a sidecar a process takes itself as active, with an epoch from its store.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::background::Role;
use crate::command::Fence;

/// How long the sidecar may take: it answers after 30 s when nothing has changed.
const WITHIN: Duration = Duration::from_secs(40);
/// How long is waited after it has not answered.
const REST: Duration = Duration::from_millis(500);
/// The longest answer that is read.
const MAX_ANSWER: u64 = 64 * 1024;
const ACTIVE: &str = "active";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    role: String,
    role_epoch: i64,
}

/// Follows the sidecar's admin port at `address` (host:port) until nobody looks at `role` any more. A sidecar that does not answer
/// changes nothing: the store's epoch keeps an old one from doing harm.
pub async fn follow(address: String, role: watch::Sender<Role>) {
    let mut known = None;
    while !role.is_closed() {
        let asked = tokio::time::timeout(WITHIN, ask(&address, known)).await;
        match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(answer) => {
                known = Some(answer.role_epoch);
                let now = role_of(&answer);
                role.send_if_modified(|before| {
                    let is_other = *before != now;
                    *before = now;
                    is_other
                });
            }
            Err(error) => {
                tracing::warn!(%error, address, "the sidecar does not say which role this is");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

fn role_of(answer: &Answer) -> Role {
    if answer.role == ACTIVE { Role::Active(Fence(answer.role_epoch)) } else { Role::Passive }
}

async fn ask(address: &str, known: Option<i64>) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let query = known.map(|epoch| format!("?epoch={epoch}")).unwrap_or_default();
    let request = format!("GET /role{query} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    read(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is no answer of /role"))
}

/// The object in an answer of status 200; the sidecar sends it whole.
fn read(answer: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?;
    (status == "200").then(|| serde_json::from_str(body).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read() {
        let answer = |role: &str| {
            let body = format!(r#"{{"role":"{role}","revision":7,"roleEpoch":9}}"#);
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        };
        let role = |text: String| read(text.as_bytes()).map(|answer| role_of(&answer));
        assert_eq!(role(answer("active")), Some(Role::Active(Fence(9))));
        assert_eq!(role(answer("candidate")), Some(Role::Passive));
        assert_eq!(role(answer("retiring")), Some(Role::Passive));
        assert_eq!(role(answer("active").replace("200", "503")), None);
        assert_eq!(role("HTTP/1.1 200 OK\r\n\r\n{}".to_owned()), None);
    }
}
