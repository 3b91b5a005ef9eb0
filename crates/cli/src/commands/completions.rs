//! `honelm completions`: what a shell needs to complete the command line.

use clap::Args;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  honelm completions bash > ~/.local/share/bash-completion/completions/honelm
  honelm completions zsh > ~/.zfunc/_honelm            a folder of $fpath
  honelm completions fish > ~/.config/fish/completions/honelm.fish
  honelm completions powershell >> $PROFILE
  honelm completions elvish >> ~/.config/elvish/rc.elv";

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::documented(), "honelm", &mut script);
        output::contents(&script)?;
        Ok(0)
    }
}
