//! One file a command.

mod bench;
mod chat;
mod eval;
mod generation;
mod inspect;
mod measure;
mod optimize;
mod prompt;
mod quantize;
mod run;

use clap::Subcommand;

use crate::arguments::Arguments;
use crate::failure::Failure;

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Optimize(optimize::Optimize),
    Chat(chat::Chat),
    Run(run::Run),
    Eval(eval::Eval),
    Quantize(quantize::Quantize),
    Inspect(inspect::Inspect),
    Prompt(prompt::Prompt),
    Bench(bench::Bench),
    #[command(hide = true)]
    Measure(measure::Measure),
}

/// Runs the command that was asked for; gives the exit status.
pub fn run(arguments: Arguments) -> Result<u8, Failure> {
    let global = &arguments.global;
    match arguments.command {
        Command::Optimize(command) => command.run(global),
        Command::Chat(command) => command.run(global),
        Command::Run(command) => command.run(global),
        Command::Eval(command) => command.run(global),
        Command::Quantize(command) => command.run(global),
        Command::Inspect(command) => command.run(global),
        Command::Prompt(command) => command.run(global),
        Command::Bench(command) => command.run(global),
        Command::Measure(command) => command.run(global),
    }
}
