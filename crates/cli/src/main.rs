//! The `honelm` command: results on stdout, progress and errors on stderr, and an exit status for scripts
//! (see [`failure`]).
#![forbid(unsafe_code)]

mod arguments;
mod command_line;
mod commands;
mod failure;
mod help;
mod input;
mod interrupt;
mod output;
mod progress;
mod shell;
mod table;
mod time_left;
mod wrap;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use command_line::CommandLine;
use failure::Failure;

fn main() -> ExitCode {
    let CommandLine { global, command } = match CommandLine::try_parse() {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    interrupt::install();
    honelm::report_lost_pages(failure::lost_page(global.json));
    match commands::run(command, &global, CommandLine::documented) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => failed(&failure, global.json),
    }
}

/// Reports a failure and returns its exit status.
fn failed(failure: &Failure, json: bool) -> ExitCode {
    output::failure(failure, json);
    if matches!(failure, Failure::Interrupted) {
        interrupt::tell_how_to_resume();
    }
    ExitCode::from(failure.status())
}

/// Prints clap's messages: help and version on stdout, errors on stderr, and with `--json` as a document on stdout.
fn usage(error: &clap::Error) -> ExitCode {
    let wants_text = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
        || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    let json = std::env::args_os().take_while(|a| a != "--").any(|a| a == "--json");
    if json && !wants_text {
        let message = error.to_string();
        return failed(&Failure::Usage(message.trim_end().trim_start_matches("error: ").to_owned()), true);
    }
    // Without this, an option from the environment would hide the help behind a short message.
    if error.kind() == ErrorKind::MissingSubcommand {
        output::note(&CommandLine::command().render_help().to_string());
        return ExitCode::from(failure::USAGE);
    }
    let text = error.to_string();
    if text.contains(honelm::acts_on_terminals) {
        // Arguments can be names of files that others chose.
        output::note(text.trim_end());
    } else if let Err(problem) = error.print()
        // A closed stderr leaves no place for a message.
        && !error.use_stderr()
    {
        return failed(&Failure::output(problem), false);
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
