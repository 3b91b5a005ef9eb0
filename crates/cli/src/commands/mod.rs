//! One file a command.

mod bench;
mod chat;
mod compare;
mod completions;
mod devices;
mod eval;
mod generation;
mod inspect;
mod man;
mod measure;
mod optimize;
mod prompt;
mod pull;
mod quantize;
mod run;
mod tokenize;
mod web;

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
    Tokenize(tokenize::Tokenize),
    Prompt(prompt::Prompt),
    Bench(bench::Bench),
    Devices(devices::Devices),
    Pull(pull::Pull),
    Web(web::Web),
    Completions(completions::Completions),
    Man(man::Man),
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
        Command::Tokenize(command) => command.run(global),
        Command::Prompt(command) => command.run(global),
        Command::Bench(command) => command.run(global),
        Command::Devices(command) => command.run(global),
        Command::Pull(command) => command.run(global),
        Command::Web(command) => command.run(global),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
        Command::Measure(command) => command.run(global),
    }
}
