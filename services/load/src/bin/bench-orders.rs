//! `cargo bench-orders`: how many durable orders a second the shop takes, and what one costs.
//!
//! The direct arm: `shopd all` with `SQLite` (or `--store`), the generator beside it on the same machine, every order synced to the
//! disk before it is acknowledged. How long the disk takes for that is printed beside.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use serde_json::{Value, json};
use shop_load::Figures;

const SYNCS: usize = 200;
/// What the kernel counts CPU time in towards programs (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);
/// How long the shop may take to start.
const START_WITHIN: Duration = Duration::from_secs(30);
/// Where the orders are in the block of ports of `shopd all`.
const ORDERS_PLACE: u16 = 2;

/// Measures durable orders a second of `shopd all`, with what each costs.
#[derive(Parser)]
#[command(name = "cargo bench-orders", bin_name = "cargo bench-orders", version, max_term_width = 110)]
struct Cli {
    /// For how many seconds
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Orders a second; 0 is as many as there can be
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// The first port of the shop
    #[arg(long, default_value_t = 18_080)]
    port: u16,
    /// A `PostgreSQL` database instead of a file: `postgres://user@host/database`
    #[arg(long)]
    store: Option<String>,
    /// The folder, made anew, in which everything is kept: on the disk that counts
    #[arg(long, default_value = "target/bench-orders")]
    data: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match bench(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// A process that ends with this one.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bench(cli: &Cli) -> Result<bool> {
    let programs = build()?;
    let _ = std::fs::remove_dir_all(&cli.data);
    std::fs::create_dir_all(&cli.data).with_context(|| format!("cannot make {}", cli.data.display()))?;
    let fsync_us = fsync_p50(&cli.data)?;
    let port = cli.port.to_string();
    let mut shop = Command::new(programs.join("shopd"));
    shop.args(["all", "--first-stock", "100000000", "--port", &port, "--data"]).arg(&cli.data);
    if let Some(store) = &cli.store {
        shop.args(["--store", store]);
    }
    let mut shop = Running(shop.stdout(Stdio::null()).spawn().context("cannot start shopd")?);
    let acknowledged = cli.data.join("acknowledged");
    let address = SocketAddr::from(([127, 0, 0, 1], cli.port + ORDERS_PLACE));
    wait_for(&mut shop.0, address)?;
    let shop_before = cpu(shop.0.id())?;
    let mut load = Command::new(programs.join("shop-load"));
    load.args(["--address", &address.to_string(), "--rate", &cli.rate.to_string()]);
    load.args(["--seconds", &cli.seconds.to_string(), "--connections", &cli.connections.to_string()]);
    let children_before = children_cpu()?;
    let output = load.arg("--acknowledged").arg(&acknowledged).stderr(Stdio::inherit()).output()?;
    let load_cpu = children_cpu()?.saturating_sub(children_before);
    let shop_cpu = cpu(shop.0.id())?.saturating_sub(shop_before);
    let figures: Figures = serde_json::from_slice(&output.stdout).context("shop-load says no figures")?;
    drop(shop);
    let store = cli.store.clone().unwrap_or_else(|| cli.data.join("ledger.sqlite").display().to_string());
    let mut verify = Command::new(programs.join("shop-verify"));
    verify.args(["--store", &store, "--acknowledged"]).arg(&acknowledged).stdout(Stdio::null());
    let verify_ok = verify.status()?.success();
    let orders = figures.orders.max(1) as f64;
    let per_order = |cpu: Duration| (cpu.as_micros() as f64 / orders * 10.0).round() / 10.0;
    let shown = json!({
        "path": if cli.store.is_some() { "direct, PostgreSQL" } else { "direct, SQLite" },
        "orders": figures.orders, "orders_per_s": figures.orders_per_s, "mean_ms": figures.mean_ms,
        "p99_ms": figures.p99_ms, "failed": figures.failed, "fsync_p50_us": fsync_us,
        "cpu_us_per_order": {"shopd": per_order(shop_cpu), "shop-load": per_order(load_cpu)},
        "verify_ok": verify_ok,
    });
    print(&shown, cli.json)?;
    Ok(verify_ok && figures.failed == 0)
}

fn print(shown: &Value, as_json: bool) -> Result<()> {
    if as_json {
        println!("{shown}");
        return Ok(());
    }
    let mut text = String::new();
    for (name, value) in shown.as_object().context("the figures are no object")? {
        writeln!(text, "{name:<18} {value}")?;
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Builds the programs as they are shipped; the folder they are in.
fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args([
        "build",
        "--release",
        "--quiet",
        "--bin",
        "shopd",
        "--bin",
        "shop-load",
        "--bin",
        "shop-verify",
    ]);
    if !cargo.status().context("cannot run cargo")?.success() {
        bail!("the programs could not be built");
    }
    let own = std::env::current_exe()?;
    // This program is in target/<triple>/<profile>.
    let target = own.parent().and_then(Path::parent).context("this program is in no target folder")?;
    Ok(target.join("release"))
}

/// Half of all syncs of a page at the end of a file are faster, in microseconds.
fn fsync_p50(folder: &Path) -> Result<u128> {
    let file = std::fs::File::create(folder.join("fsync"))?;
    let page = [0x5a; 4096];
    let mut took = Vec::with_capacity(SYNCS);
    for count in 0..SYNCS as u64 {
        file.write_all_at(&page, count * 4096)?;
        let begun = Instant::now();
        file.sync_data()?;
        took.push(begun.elapsed().as_micros());
    }
    took.sort_unstable();
    Ok(took.get(SYNCS / 2).copied().unwrap_or_default())
}

/// Waits until the orders take connections.
fn wait_for(shop: &mut Child, address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        if let Some(status) = shop.try_wait()? {
            bail!("the shop ended ({status}); is another one running on these ports?");
        }
        if begun.elapsed() > START_WITHIN {
            bail!("the shop does not listen on {address}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// CPU time of a process so far, user and system.
fn cpu(pid: u32) -> Result<Duration> {
    ticks(&format!("/proc/{pid}/stat"), 11)
}

/// CPU time of all children of this process that have ended.
fn children_cpu() -> Result<Duration> {
    ticks("/proc/self/stat", 13)
}

/// Two fields of a stat file (proc(5)), counted from the one after the name.
fn ticks(path: &str, first: usize) -> Result<Duration> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let (_, fields) = text.rsplit_once(')').context("no stat file")?;
    let mut fields = fields.split_whitespace().skip(first);
    let mut next = || -> Result<u64> { Ok(fields.next().context("too few fields")?.parse()?) };
    let ticks = next()? + next()?;
    Ok(TICK * u32::try_from(ticks)?)
}
