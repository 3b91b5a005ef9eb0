//! `honelm man`: the manual pages.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  honelm man | man -l -                              read it
  honelm man --dir ~/.local/share/man/man1           install it: honelm.1, honelm-chat.1, ...";

/// Print the manual page, or write one of each command into a folder
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Man {
    /// Folder that the pages are written into
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub fn run(self) -> Result<u8, Failure> {
        let mut command = Arguments::command();
        // Gives every command its full name and the options that it shares with the others.
        command.build();
        let Some(dir) = self.dir else {
            output::write(&String::from_utf8_lossy(&page(&command)?))?;
            return Ok(0);
        };
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |e| Failure::Io(path, e)
        };
        fs::create_dir_all(&dir).map_err(failed(&dir))?;
        let shown = command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help");
        for (name, command) in std::iter::once(("honelm".to_owned(), &command))
            .chain(shown.map(|c| (format!("honelm-{}", c.get_name()), c)))
        {
            let path = dir.join(format!("{name}.1"));
            fs::write(&path, page(command)?).map_err(failed(&path))?;
            output::line(&path.display().to_string())?;
        }
        Ok(0)
    }
}

fn page(command: &clap::Command) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    Page::new(command.clone()).render(&mut out).map_err(|e| Failure::Io("manual page".to_owned(), e))?;
    Ok(out)
}
