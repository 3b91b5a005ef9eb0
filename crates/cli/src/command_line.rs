//! The command line as a whole.

use clap::{Args, CommandFactory, Parser};

use crate::arguments::Global;
use crate::commands::Command;
use crate::failure::STATUSES;
use crate::help;

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm optimize", "compress the shipped model and check its quality"),
            ("honelm chat", "talk to the shipped model"),
            ("honelm optimize path/to/model -o small", "compress a Hugging Face folder or a GGUF file"),
            ("honelm chat small/model.gguf", "talk to the result"),
            ("honelm pull ORG/REPO:Q4_K_M", "download a model from the Hugging Face Hub"),
        ],
        &[
            "MODEL is a folder, a GGUF file, or the name of a folder or GGUF file in a model folder. Model folders are \
             --model-dir, HONELM_HOME, and `models` beside the executable, in the current folder and in every folder \
             above it. ORG/REPO, ORG/REPO@REVISION and ORG/REPO:QUANT are models of the Hugging Face Hub that \
             `honelm pull` or another tool has downloaded.",
            &help::list("Exit status", &STATUSES),
        ],
    )
}

/// Compress, evaluate and run language models on this machine
#[derive(Debug, Parser)]
#[command(name = "honelm", version, arg_required_else_help = true, after_help = notes())]
pub struct CommandLine {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

impl CommandLine {
    /// Returns the command line as it is documented: without hidden commands.
    pub fn documented() -> clap::Command {
        let whole = Self::command();
        let shown: Vec<clap::Command> = whole.get_subcommands().filter(|c| !c.is_hide_set()).cloned().collect();
        let mut command = clap::Command::new("honelm").version(env!("CARGO_PKG_VERSION")).after_help(notes());
        command =
            command.about(whole.get_about().cloned().unwrap_or_default()).subcommand_required(true).subcommands(shown);
        Global::augment_args(command)
    }
}
