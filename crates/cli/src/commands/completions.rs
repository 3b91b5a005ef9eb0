//! `honelm completions`: scripts that complete the command line in a shell.

use clap::Args;
use clap_complete::Shell;

use crate::failure::Failure;
use crate::{help, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm completions bash > ~/.local/share/bash-completion/completions/honelm", ""),
            ("honelm completions zsh > ~/.zfunc/_honelm", "a folder in $fpath"),
            ("honelm completions fish > ~/.config/fish/completions/honelm.fish", ""),
            ("honelm completions powershell >> $PROFILE", ""),
            ("honelm completions elvish >> ~/.config/elvish/rc.elv", ""),
        ],
        &[],
    )
}

/// Print the completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self, mut command: clap::Command) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "honelm", &mut script);
        output::contents(&script)?;
        Ok(0)
    }
}
