//! `tidegate`: push millions of API calls through somebody else's rate limit.
//!
//! Parse → plan → run → report. Every word that a person reads goes through [`printer`].

mod args;
mod demo;
mod done;
mod exit;
mod explain;
mod fleet;
mod hints;
mod llm;
mod permit;
mod printer;
mod probe;
mod progress;
mod quota;
mod retry;
mod run;
mod sim;
mod verify;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use tidegate_fleet::State;

use self::args::{Cli, Command};
use self::exit::Exit;
use self::printer::{Printer, is_closed_pipe};

fn main() -> std::process::ExitCode {
    let printer = Printer::new();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return hints::usage(printer, &error).into(),
    };
    let outcome = match cli.command {
        Command::Run(args) => run::command(printer, *args),
        Command::Retry(args) => retry::command(printer, *args),
        Command::Quota { command } => quota::command(printer, command),
        Command::Permit(args) => permit::command(printer, &args),
        Command::Submit(args) => fleet::submit_command(printer, &args),
        Command::Worker(args) => fleet::worker_command(printer, args),
        Command::Status(place) => fleet::status_command(printer, &place),
        Command::Pause(args) => fleet::control_command(printer, &args, State::Paused),
        Command::Resume(args) => fleet::control_command(printer, &args, State::Open),
        Command::Cancel(args) => fleet::control_command(printer, &args, State::Cancelled),
        Command::Forget(args) => fleet::forget_command(printer, &args),
        Command::Collect(args) => fleet::collect_command(printer, &args),
        Command::Rebuild(args) => fleet::rebuild_command(printer, &args),
        Command::Explain(args) => explain::command(printer, &args),
        Command::Probe(args) => probe::command(printer, args),
        Command::Verify(args) => verify::command(printer, &args),
        Command::Sim(args) => sim::command(printer, args),
        Command::Demo(args) => demo::command(printer, &args),
        Command::Completions { shell } => completions(printer, shell),
    };
    match outcome {
        Ok(exit) => exit.into(),
        // Whoever read what was said has seen enough; results of calls are another matter (see run).
        Err(error) if is_closed_pipe(&error) => Exit::Success.into(),
        Err(error) => {
            printer.error(&error);
            Exit::Usage.into()
        }
    }
}

fn completions(printer: Printer, shell: Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new(); // clap_complete panics when a pipe is closed
    clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut script);
    printer.bytes(&script)?;
    Ok(Exit::Success)
}
