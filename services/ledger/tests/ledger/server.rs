//! A `PostgreSQL` server of its own, in a temporary folder, that ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _};

const START_WITHIN: Duration = Duration::from_mins(1);

pub(crate) struct Server {
    process: Child,
    folder: tempfile::TempDir,
}

impl Server {
    /// Makes a database cluster and serves it on a socket in its folder. `PostgreSQL` refuses to run as root: then it runs as the
    /// user that its package has made.
    pub(crate) async fn start() -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().unwrap();
        let is_root = run(Command::new("id").arg("-u")).trim() == "0";
        if is_root {
            run(Command::new("chown").arg("postgres:").arg(folder.path()));
        }
        let data = folder.path().join("data");
        run(as_user(is_root, &programs.join("initdb"))
            .args(["--auth=trust", "--username=shop", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data));
        let process = as_user(is_root, &programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "log_min_messages=fatal"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, folder };
        let begun = Instant::now();
        while let Err(error) = sqlx::PgConnection::connect(&server.url("postgres")).await {
            assert!(begun.elapsed() < START_WITHIN, "PostgreSQL does not start: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }

    /// Makes an empty database; its address.
    pub(crate) async fn database(&self, name: &str) -> String {
        let mut connection = sqlx::PgConnection::connect(&self.url("postgres")).await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        connection.execute(sqlx::raw_sql(statement)).await.unwrap();
        self.url(name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://shop@localhost/{database}?host={}", self.folder.path().display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists());
    found.expect("this test starts a PostgreSQL server: install Debian's package `postgresql` (apt-get install postgresql)")
}

/// Ends with this process, also when it is killed.
fn as_user(is_root: bool, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg(program).current_dir("/").stdout(Stdio::null());
    command
}

fn run(command: &mut Command) -> String {
    let output = command.stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
