//! The program `shop-sidecar`: `run` is the container's command, `drain` its preStop hook, `check` reads a document.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use shop_contract::ports;
use shop_sidecar::config::accept;
use shop_sidecar::standalone::Standalone;
use shop_sidecar::{Settings, Sidecar, control, settings, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// The proxy beside every container of a shop.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM.
    Run {
        /// Where requests of callers come in.
        #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, ports::INBOUND)))]
        inbound: SocketAddr,
        /// Where probes, metrics and configuration come in.
        #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, ports::ADMIN)))]
        admin: SocketAddr,
        /// Run by itself, for trying and debugging, in front of this server on 127.0.0.1. Without it, the environment that the
        /// operator sets in a pod says what is needed.
        #[arg(long, value_name = "ADDRESS")]
        app: Option<SocketAddr>,
        /// The document to run by itself with; its port of the app, its keys and later changes of the file are not used.
        #[arg(long, value_name = "FILE", requires = "app")]
        config: Option<PathBuf>,
        /// The folder with `tls.crt`, `tls.key` and `ca.crt` to run by itself with; changes of the files are followed.
        #[arg(long, value_name = "FOLDER", requires = "app")]
        tls: Option<PathBuf>,
        /// What is logged of the sidecar itself, as in `RUST_LOG`.
        #[arg(long, env = "SHOP_LOG", default_value = "info")]
        log: String,
    },
    /// Begin the inbound drain of the sidecar that runs in this container, and return.
    Drain,
    /// Read a document and say what is wrong with it.
    Check {
        /// The document's file.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run { inbound, admin, app: None, log, .. } => Settings::read(inbound, admin, variable)
            .map_err(Into::into)
            .and_then(|settings| run(settings, &log)),
        Command::Run { inbound, admin, app: Some(app), config, tls, log } => {
            let alone = Standalone::new(inbound, admin, app, config.as_deref(), tls.as_deref(), variable);
            // The folders live until the sidecar has ended.
            alone.map_err(Into::into).and_then(|alone| run(alone.settings.clone(), &log))
        }
        Command::Drain => drain(),
        Command::Check { file } => check(&file),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop-sidecar: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &'static str) -> Option<String> {
    std::env::var(name).ok()
}

fn run(settings: Settings, log: &str) -> anyhow::Result<()> {
    telemetry::log::start(settings.identity.service.clone(), log);
    // More threads than two cost memory and move requests between cores; a pod that needs more gets a replica.
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(2);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let sidecar = Sidecar::start(settings)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sidecar.stop().await;
        Ok(())
    })
}

fn drain() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(control::begin_drain(&settings::state_dir(&variable)))?)
}

fn check(file: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let document = accept::parse_document(&bytes)?;
    accept::check(&document)?;
    println!(
        "{}: ok, generation {}, hash {}",
        file.display(),
        document.generation,
        shop_contract::document_hash(&document)
    );
    Ok(())
}
