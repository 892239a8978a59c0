//! `cargo cluster`: starts, stops and breaks a real Kubernetes cluster on this machine.

mod logs;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use shop_e2e::cluster::{Cluster, DEFAULT_NAME, Part, Up};
use shop_e2e::images::{self, Archive};
use shop_e2e::{program, setup};

/// A real one-node Kubernetes cluster on this machine, for trying things and for tests.
///
/// The first `up` installs what is missing and builds Kubernetes, which takes some minutes; after that it takes
/// seconds. Each part of the cluster is a process of its own and can be killed, frozen and restarted.
#[derive(Parser)]
#[command(name = "cargo cluster", bin_name = "cargo cluster", version, max_term_width = 110)]
struct Arguments {
    /// Which cluster: several can stand side by side.
    #[arg(long, global = true, default_value = DEFAULT_NAME, value_name = "NAME")]
    name: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start the cluster, or those of its parts that have ended.
    Up {
        /// Also build the images of this repository and load them.
        #[arg(long)]
        images: bool,
    },
    /// Stop the cluster and remove everything of it.
    Down,
    /// Show what each part does. Exit code 1 if one does not run or the node is not Ready.
    Status,
    /// Stop a part and start it again; returns when it answers.
    Restart {
        /// One of the parts that `status` shows.
        part: Part,
    },
    /// Kill a part without warning (SIGKILL); `restart` or `up` brings it back.
    Kill {
        /// One of the parts that `status` shows.
        part: Part,
    },
    /// Stop a part where it is (SIGSTOP): its connections stay open and nothing answers.
    Freeze {
        /// One of the parts that `status` shows.
        part: Part,
    },
    /// Let a frozen part go on (SIGCONT).
    Thaw {
        /// One of the parts that `status` shows.
        part: Part,
    },
    /// Import an archive of images (OCI or docker save).
    Load {
        /// The archive, a tar file.
        file: PathBuf,
    },
    /// Show the log of a part.
    Logs {
        /// One of the parts that `status` shows.
        part: Part,
        /// Go on showing what is written, until interrupted.
        #[arg(short, long)]
        follow: bool,
    },
    /// Run kubectl against the cluster: `cargo cluster kubectl get pods -A`.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// Everything after `kubectl`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Run helm against the cluster: `cargo cluster helm list -A`.
    #[command(disable_help_flag = true)]
    Helm {
        /// Everything after `helm`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    program::end(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let cluster = Cluster::named(&arguments.name)?;
    match arguments.action {
        Action::Up { images } => up(&cluster, images)?,
        Action::Down => {
            let begin = Instant::now();
            if cluster.down()? {
                println!("cluster {} is down, after {:.1} s", cluster.name(), begin.elapsed().as_secs_f64());
            } else {
                println!("there is no cluster {}", cluster.name());
            }
        }
        Action::Status => return Ok(status(&cluster)),
        Action::Restart { part } => {
            cluster.restart(part)?;
            println!("{part} was restarted and answers");
        }
        Action::Kill { part } => {
            cluster.kill(part)?;
            println!("{part} is gone; `cargo cluster restart {part}` brings it back");
        }
        Action::Freeze { part } => {
            cluster.freeze(part)?;
            println!("{part} is frozen; `cargo cluster thaw {part}` lets it go on");
        }
        Action::Thaw { part } => {
            cluster.thaw(part)?;
            println!("{part} goes on");
        }
        Action::Load { file } => {
            cluster.load(&Archive::of_file(&file)?)?;
            println!("loaded {}", file.display());
        }
        Action::Logs { part, follow } => logs::show(&cluster.log(part), follow)?,
        Action::Kubectl { arguments } => {
            return pass_on(&cluster, Command::new(setup::bin().join("k8s")).arg("kubectl").args(arguments));
        }
        Action::Helm { arguments } => {
            return pass_on(&cluster, Command::new(setup::bin().join("helm")).args(arguments));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up(cluster: &Cluster, with_images: bool) -> Result<()> {
    let begin = Instant::now();
    let name = cluster.name();
    match cluster.up()? {
        Up::Already => println!("cluster {name} is up already"),
        Up::Started => println!("cluster {name} is up, after {:.1} s", begin.elapsed().as_secs_f64()),
        Up::Repaired(parts) => {
            let parts: Vec<_> = parts.into_iter().map(Part::name).collect();
            println!("cluster {name} is up again; started: {}", parts.join(", "));
        }
    }
    if with_images {
        let images = images::build()?;
        cluster.load_all(&images)?;
        println!("operator image {}\nsidecar image  {}", images.operator, images.sidecar);
    }
    println!("export KUBECONFIG={}", cluster.kubeconfig().display());
    Ok(())
}

fn status(cluster: &Cluster) -> ExitCode {
    let mut well = true;
    println!("{:<20}{:<10}PID", "PART", "STATE");
    for part in Part::ALL {
        let state = cluster.state_of(part);
        well &= state == shop_e2e::cluster::State::Running;
        let pid = cluster.pid(part).map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        println!("{:<20}{:<10}{pid}", part.name(), format!("{state:?}").to_lowercase());
    }
    match cluster.node_ready(std::time::Duration::from_secs(10)) {
        Ok(()) => println!("\nthe node is Ready; kubeconfig: {}", cluster.kubeconfig().display()),
        Err(error) => {
            println!("\n{error:#}");
            well = false;
        }
    }
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a client with this terminal and ends as it ends. Plugins of this repository are found by kubectl.
fn pass_on(cluster: &Cluster, command: &mut Command) -> Result<ExitCode> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [images::programs(), setup::bin()].into_iter().chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders).context("extend PATH")?);
    command.env("KUBECONFIG", cluster.kubeconfig());
    let status = command.status().context("start the program; is the cluster up?")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
