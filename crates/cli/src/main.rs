//! The `honelm` command: results on stdout, progress and errors on stderr, a status that scripts can count on.
//!
//! Exit status: 0 done, 1 failed, 2 usage, 3 budget broken, 4 not enough text for a verdict,
//! 5 an encoding that `--strict` insists on cannot be had, 130 interrupted.
#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod failure;
mod input;
mod interrupt;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use arguments::Arguments;
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    interrupt::install();
    let json = arguments.global.json;
    honelm::report_lost_pages(failure::lost_page(json));
    match commands::run(arguments) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => failure.report(json),
    }
}

/// What clap has to say: help and version on stdout, errors on stderr, and with `--json` as a document on stdout.
fn usage(error: &clap::Error) -> ExitCode {
    let wants_text = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
        || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    let json = std::env::args_os().take_while(|a| a != "--").any(|a| a == "--json");
    if json && !wants_text {
        let message = error.to_string();
        return Failure::Usage(message.trim_end().trim_start_matches("error: ").to_owned()).report(true);
    }
    let text = error.to_string();
    if text.contains(honelm::acts_on_terminals) {
        // Arguments can be names of files that others chose.
        output::note(text.trim_end());
    } else if let Err(problem) = error.print()
        // A closed stderr leaves nobody to tell.
        && !error.use_stderr()
    {
        return Failure::output(problem).report(false);
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
