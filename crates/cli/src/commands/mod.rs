//! The commands, one per file.

mod activations;
mod bench;
mod chat;
mod classify;
mod compare;
mod completions;
mod constraints;
mod contents;
mod devices;
mod distil;
mod embed;
mod eval;
mod extract;
mod gateway;
mod generation;
mod imatrix;
mod inspect;
mod list;
mod man;
mod measure;
mod optimize;
mod plots;
mod prompt;
mod prune;
mod ps;
mod pull;
mod quantize;
mod recipes;
mod redact;
mod remote;
mod router;
mod rows;
mod run;
mod serve;
mod speculation;
mod spoken;
mod stop;
mod texts;
mod thoughts;
mod tokenize;
mod usage;
mod web;

use clap::Subcommand;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::interrupt;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Optimize(Box<optimize::Optimize>),
    Chat(chat::Chat),
    Run(run::Run),
    Eval(eval::Eval),
    Quantize(quantize::Quantize),
    Prune(prune::Prune),
    Distil(Box<distil::Distil>),
    Recipes(recipes::Recipes),
    Imatrix(imatrix::Imatrix),
    Inspect(inspect::Inspect),
    List(list::List),
    Tokenize(tokenize::Tokenize),
    Embed(embed::Embed),
    Classify(classify::Classify),
    Extract(extract::Extract),
    Prompt(prompt::Prompt),
    Redact(redact::Redact),
    Bench(bench::Bench),
    Devices(devices::Devices),
    Pull(pull::Pull),
    Serve(Box<serve::Serve>),
    Ps(ps::Ps),
    Stop(stop::Stop),
    Router(router::Router),
    Gateway(gateway::Gateway),
    Usage(usage::Usage),
    Web(web::Web),
    Completions(completions::Completions),
    Man(man::Man),
    #[command(hide = true)]
    Measure(measure::Measure),
}

/// Runs a command and returns the exit status. `documented` is the command line as the manual and completions show it.
pub fn run(command: Command, global: &Global, documented: fn() -> clap::Command) -> Result<u8, Failure> {
    let afresh: Option<&[&str]> = match command {
        Command::Optimize(_) => Some(&["--restart", "--force"]),
        Command::Quantize(_) | Command::Prune(_) | Command::Distil(_) | Command::Pull(_) => Some(&[]),
        _ => None,
    };
    if let Some(afresh) = afresh.filter(|_| !global.quiet) {
        interrupt::resume_with(std::env::args_os().map(|word| word.to_string_lossy().into_owned()), afresh);
    }
    match command {
        Command::Optimize(command) => command.run(global),
        Command::Chat(command) => command.run(global),
        Command::Run(command) => command.run(global),
        Command::Eval(command) => command.run(global),
        Command::Quantize(command) => command.run(global),
        Command::Prune(command) => command.run(global),
        Command::Distil(command) => command.run(global),
        Command::Recipes(command) => command.run(global),
        Command::Imatrix(command) => command.run(global),
        Command::Inspect(command) => command.run(global),
        Command::List(command) => command.run(global),
        Command::Tokenize(command) => command.run(global),
        Command::Embed(command) => command.run(global),
        Command::Classify(command) => command.run(global),
        Command::Extract(command) => command.run(global),
        Command::Prompt(command) => command.run(global),
        Command::Redact(command) => command.run(global),
        Command::Bench(command) => command.run(global),
        Command::Devices(command) => command.run(global),
        Command::Pull(command) => command.run(global),
        Command::Serve(command) => command.run(global),
        Command::Ps(command) => command.run(global),
        Command::Stop(command) => command.run(global),
        Command::Router(command) => command.run(global),
        Command::Gateway(command) => command.run(global),
        Command::Usage(command) => command.run(global),
        Command::Web(command) => command.run(global),
        Command::Completions(command) => command.run(documented()),
        Command::Man(command) => command.run(documented()),
        Command::Measure(command) => command.run(global),
    }
}
