//! `honelm man`: the manual pages.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man as Page;
use honelm::{FormatError, OutputGate, write_atomic};

use crate::failure::Failure;
use crate::{help, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm man | man -l -", "read the first page"),
            ("honelm man --dir ~/.local/share/man/man1", "install all pages: honelm.1, honelm-chat.1, ..."),
        ],
        &[],
    )
}

/// Print the manual page of honelm, or write the pages of all commands into a folder
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Man {
    /// Folder to write the pages to
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Replace pages of an earlier run
    #[arg(long, requires = "dir")]
    force: bool,
}

impl Man {
    pub fn run(self, command: Command) -> Result<u8, Failure> {
        let mut command = command.disable_help_subcommand(true);
        // Gives every command its full name and the global options.
        command.build();
        let Some(dir) = self.dir else {
            output::contents(page(&command)?.as_bytes())?;
            return Ok(0);
        };
        if dir == Path::new("-") {
            return Err(honelm::Error::from(FormatError::OutputIsStdout).into());
        }
        let gate = OutputGate::new(self.force);
        let mut pages = Vec::new();
        for command in all(&command) {
            let path = dir.join(Page::new(command.clone()).get_filename());
            gate.file(&path, "a manual page of honelm", &is_page).map_err(honelm::Error::from)?;
            pages.push((path, page(command)?));
        }
        fs::create_dir_all(&dir).map_err(|error| Failure::Io(dir.display().to_string(), error))?;
        for (path, page) in pages {
            let failed = |error| FormatError::io("write", path.display(), error);
            write_atomic(&path, |file| file.write_all(page.as_bytes()).map_err(failed)).map_err(honelm::Error::from)?;
            output::line(&path.display().to_string())?;
        }
        Ok(0)
    }
}

/// Returns a command and all commands below it.
fn all(command: &Command) -> Vec<&Command> {
    std::iter::once(command).chain(command.get_subcommands().flat_map(all)).collect()
}

/// Returns `true` if a file is a manual page of this program, by its title line.
fn is_page(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(1 << 12).read_to_end(&mut head));
    read.is_ok() && String::from_utf8_lossy(&head).lines().any(|line| line.starts_with(".TH honelm"))
}

/// Returns the page of one command.
fn page(command: &Command) -> Result<String, Failure> {
    let page = Page::new(command.clone()).source(concat!("honelm ", env!("CARGO_PKG_VERSION"))).manual("HoneLM");
    let mut out = Vec::new();
    sections(&page, command, &mut out).map_err(|e| Failure::Io("manual page".to_owned(), e))?;
    let mut out = String::from_utf8_lossy(&out).into_owned();
    if let Some(notes) = command.get_after_help() {
        let notes = notes.to_string();
        out.push_str(&format!(".SH EXAMPLES\n{}", verbatim(notes.trim_start_matches("Examples:\n"))));
    }
    Ok(out)
}

fn sections(page: &Page, command: &Command, out: &mut Vec<u8>) -> io::Result<()> {
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    if command.has_subcommands() { page.render_subcommands_section(out) } else { Ok(()) }
}

/// Formats text whose lines and columns must stay as they are.
fn verbatim(text: &str) -> String {
    let mut out = ".nf\n".to_owned();
    for line in text.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        // A line that begins with a dot would be a request.
        let guard = if line.starts_with('.') { "\\&" } else { "" };
        out.push_str(&format!("{guard}{line}\n"));
    }
    out.push_str(".fi\n");
    out
}
