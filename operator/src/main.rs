//! `shop-operator`: see README.md beside this crate.

use anyhow::Context;
use clap::Parser;
use shop_operator::{
    logs, metrics, run,
    settings::{Command, Program, Settings},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> anyhow::Result<()> {
    match Program::parse().command {
        Command::Run(settings) => {
            logs::start(&settings.log)?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .context("cannot start the runtime")?;
            runtime.block_on(operate(*settings))
        }
        Command::Metrics => {
            print!("{}", metrics::markdown());
            Ok(())
        }
    }
}

async fn operate(settings: Settings) -> anyhow::Result<()> {
    let mut config = kube::Config::infer().await.context("no way to the API server is configured")?;
    // Every pass has its own pauses and deadline; retries below it would only hide a busy API server.
    config.default_retry = false;
    let client = kube::Client::try_from(config).context("cannot make a client of the API server")?;
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let signalled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
        signalled.cancel();
    });
    run::run(settings, client, None, stop).await?;
    Ok(())
}
