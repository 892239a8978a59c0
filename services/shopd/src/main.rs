//! The shop's services in one binary: `shopd product`, or all of them in one process: `shopd all`.

mod all;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The worker threads of a service: the shop's pods are small, and more threads than that only share the same cores.
const WORKERS: usize = 2;

/// The services of the shop.
#[derive(Parser)]
#[command(name = "shopd", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    service: Service,
}

#[derive(Subcommand)]
enum Service {
    /// The catalogue: products and their prices over JSON, WebSocket and gRPC on one port
    #[command(after_help = "Endpoints, problem codes and faults are described in services/README.md.")]
    Product(Box<shop_product::Settings>),
    /// The users: accounts, passwords, sessions, and the tokens that all services verify
    #[command(after_help = "Endpoints, problem codes and faults are described in services/README.md.")]
    User(Box<shop_user::Settings>),
    /// The orders: made once, paid, shipped, cancelled, with the stock they hold
    #[command(after_help = "Endpoints, problem codes and faults are described in services/README.md.")]
    Order(Box<shop_order::Settings>),
    /// The stock: pieces are held, sold, given back and delivered
    #[command(after_help = "Endpoints, problem codes and faults are described in services/README.md.")]
    Inventory(Box<shop_inventory::Settings>),
    /// All services in one process, each on a port of its own, with everything they keep in one folder
    All(Box<all::Settings>),
    /// A provider of mini-program logins, for trying and testing
    #[command(name = "fakelogin")]
    FakeLogin(Box<shop_user::mini_program::fake::Settings>),
    /// The front door: one address for all services, with tokens, limits and what is left out under load
    #[command(after_help = "Routing, limits, degradation and faults are described in services/README.md.")]
    Gateway(Box<shop_gateway::Settings>),
}

fn main() -> ExitCode {
    match run(Cli::parse().service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, without a backtrace: what is wrong at start is wrong in the settings, not in the code.
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(service: Service) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let ended = runtime.block_on(async {
        match service {
            Service::Product(settings) => shop_product::run(&settings).await,
            Service::User(settings) => shop_user::run(&settings).await,
            Service::Order(settings) => shop_order::run(&settings).await,
            Service::Inventory(settings) => shop_inventory::run(&settings).await,
            Service::All(settings) => all::run(&settings).await,
            Service::FakeLogin(settings) => shop_user::mini_program::fake::run(&settings).await,
            Service::Gateway(settings) => shop_gateway::run(&settings).await,
        }
    });
    // What is still open after its time is cut, not waited for.
    runtime.shutdown_background();
    Ok(ended?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_service_the_usage_is_shown() {
        let error = Cli::try_parse_from(["shopd"]).err().expect("refused");
        assert!(error.to_string().contains("Usage: shopd <COMMAND>"), "{error}");
    }

    #[test]
    fn the_catalogue_is_a_command() {
        let cli = Cli::try_parse_from(["shopd", "product", "--port", "8081", "--fault", "latency=5ms"])
            .expect("understood");
        assert!(matches!(cli.service, Service::Product(settings) if settings.common.port == 8081));
    }
}
