//! The program `kubectl-shop`, which kubectl runs as `kubectl shop`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use kubectl_shop::{Arguments, Cluster, Exit, Pace, Terminal, arguments::Command, completion, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(execute(&arguments)) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => failed(error.as_ref()),
    }
}

async fn execute(arguments: &Arguments) -> Result<Exit, Box<dyn std::error::Error>> {
    let (mut out, mut notes) = (io::stdout(), io::stderr());
    match &arguments.command {
        // These are asked where there may be no cluster.
        Command::Completion { shell } => {
            out.write_all(&completion::script(*shell))?;
            return Ok(Exit::Done);
        }
        Command::Complete(unfinished) => {
            let services = async || {
                let connection = completion::connection(&unfinished.words);
                Cluster::connect(&connection).await.ok()?.names().await.ok()
            };
            out.write_all(completion::complete(&unfinished.words, services).await.as_bytes())?;
            return Ok(Exit::Done);
        }
        _ => {}
    }
    let cluster = Cluster::connect(&arguments.connection).await?;
    let mut terminal = Terminal { out: &mut out, notes: &mut notes, output: arguments.output };
    Ok(run(&arguments.command, &cluster, Pace::default(), &mut terminal).await?)
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::from(Exit::Error.code())
}
