//! gRPC passes through a sidecar whole: gRPC's own interop client and server, with the sidecar between them.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shop_e2e::{images, program, setup};

/// Those that need neither credentials of a cloud nor a load balancer.
const CASES: [&str; 14] = [
    "cancel_after_begin",
    "cancel_after_first_response",
    "client_streaming",
    "custom_metadata",
    "empty_stream",
    "empty_unary",
    "large_unary",
    "ping_pong",
    "server_streaming",
    "special_status_message",
    "status_code_and_message",
    "timeout_on_sleeping_server",
    "unimplemented_method",
    "unimplemented_service",
];
/// Server and sidecar are ready within this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_case_of_the_interop_client_passes_through() -> Result<()> {
    setup::ensure()?;
    let (server, inbound, admin) = (free_address()?, free_address()?, free_address()?);
    let _server = start(interop().args(["serve", &server.to_string()]))?;
    let sidecar = images::programs().join("shop-sidecar");
    let addresses = [("--app", server), ("--inbound", inbound), ("--admin", admin)];
    let mut command = Command::new(sidecar);
    command.arg("run").args(addresses.iter().flat_map(|(flag, at)| [(*flag).to_owned(), at.to_string()]));
    let _sidecar = start(command.stdout(Stdio::null()))?;
    until_ready(admin)?;
    let failures: Vec<String> = CASES
        .iter()
        .filter_map(|case| {
            let outcome = program::run(interop().args(["call", &inbound.to_string(), case]));
            outcome.err().map(|error| format!("{case}: {error:#}"))
        })
        .collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn interop() -> Command {
    let mut command = Command::new(setup::bin().join("k8s"));
    command.arg("grpc-interop");
    command
}

fn start(command: &mut Command) -> Result<Running> {
    let child = command.stdin(Stdio::null()).spawn();
    Ok(Running(child.with_context(|| format!("start {}", command.get_program().display()))?))
}

/// The sidecar is ready when it is and its app accepts connections.
fn until_ready(admin: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_ready(admin) {
        ensure!(Instant::now() < deadline, "the sidecar was not ready after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn is_ready(admin: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(admin) else { return false };
    let mut begin = [0; 12];
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n").is_ok()
        && stream.read_exact(&mut begin).is_ok()
        && begin == *b"HTTP/1.1 200"
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
