//! The texts that commands read: options, files, stdin.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::input;

/// The texts.
#[derive(Debug, Args)]
pub struct Texts {
    /// A text; can be given several times
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Vec<String>,

    /// A file with a text; can be given several times [default: stdin, if it is a pipe or a file]
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,

    /// Read a text from each line of the files or of stdin
    #[arg(long)]
    lines: bool,
}

impl Texts {
    /// Reads the texts, at least one. Empty lines are left out.
    pub fn read(&self) -> Result<Vec<String>, Failure> {
        let mut texts = self.prompt.clone();
        for path in &self.file {
            let bytes = input::named(path, input::MOST_PROMPT)?;
            let text = String::from_utf8(bytes).map_err(|error| {
                let problem = format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to());
                honelm::Error::Text { path: path.display().to_string(), problem }
            })?;
            self.add(text, &mut texts);
        }
        if self.prompt.is_empty() && self.file.is_empty() {
            if io::stdin().is_terminal() {
                return Err(Failure::Usage("no text: give it by -p TEXT, -f FILE or on stdin".to_owned()));
            }
            self.add(input::stdin_text(input::MOST_PROMPT)?, &mut texts);
        }
        if texts.is_empty() {
            return Err(Failure::Usage("no text: the input has no line with words".to_owned()));
        }
        Ok(texts)
    }

    fn add(&self, text: String, texts: &mut Vec<String>) {
        if self.lines {
            texts.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
        } else {
            texts.push(text);
        }
    }
}
