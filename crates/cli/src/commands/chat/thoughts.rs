//! A model's thinking on the screen.

use std::env;
use std::io::{self, IsTerminal};
use std::time::Instant;

use clap::ValueEnum;
use comfy_table::Table;
use honelm::printable;

use crate::failure::Failure;
use crate::{interrupt, output};

/// What is shown of the thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shown {
    /// All of it, dimmed
    Show,
    /// Dimmed while it comes, one line after it
    Fold,
    /// Nothing
    Hide,
}

impl Shown {
    /// By its name.
    pub fn parse(name: &str) -> Result<Self, String> {
        <Self as ValueEnum>::from_str(name, true).map_err(|_| format!("/thinking {name}: expected show, fold or hide"))
    }
}

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";
/// Columns where the terminal does not say.
const WIDTH: usize = 80;
/// Fewer columns are no answer: some terminals say 0.
const NARROW: usize = 20;

/// Writes the thinking of one answer.
pub struct Thoughts {
    shown: Shown,
    /// Columns of the terminal; none where stdout is no terminal.
    width: Option<usize>,
    colour: bool,
    begun: Option<Instant>,
    /// Where the next character goes, and how many lines are above it.
    column: usize,
    lines: usize,
    failure: Option<Failure>,
}

impl Thoughts {
    /// Nothing written yet; nothing ever where `silent`.
    pub fn new(shown: Shown, silent: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let columns = || Table::new().width().map(usize::from).filter(|width| *width >= NARROW).unwrap_or(WIDTH);
        let width = terminal.then(columns);
        // What cannot be taken back is not written at all.
        let shown = match (shown, width) {
            _ if silent => Shown::Hide,
            (Shown::Fold, None) => Shown::Hide,
            _ => shown,
        };
        let colour = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { shown, width, colour, begun: None, column: 0, lines: 0, failure: None }
    }

    /// Takes a piece; false stops the generation.
    pub fn piece(&mut self, text: &str) -> bool {
        self.begun.get_or_insert_with(Instant::now);
        if self.shown != Shown::Hide {
            let laid_out = match self.width {
                Some(width) => self.wrapped(&printable(text), width),
                None => text.to_owned(),
            };
            self.write(&if self.colour { format!("{DIM}{laid_out}{PLAIN}") } else { laid_out });
        }
        self.failure.is_none() && !interrupt::pressed()
    }

    /// The thinking is over, for now.
    pub fn end(&mut self) {
        let Some(begun) = self.begun.take() else { return };
        match self.shown {
            Shown::Hide => {}
            Shown::Show => self.write("\n\n"),
            Shown::Fold => {
                let up = if self.lines > 0 { format!("\x1b[{}A", self.lines) } else { String::new() };
                let seconds = honelm::optimize::seconds(begun.elapsed().as_secs_f64());
                let line = format!("(thought for {seconds}; /thinking show shows it)");
                let line = if self.colour { format!("{DIM}{line}{PLAIN}") } else { line };
                self.write(&format!("\r{up}\x1b[J{line}\n"));
            }
        }
        (self.column, self.lines) = (0, 0);
    }

    /// What went wrong while writing.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.end();
        self.failure.map_or(Ok(()), Err)
    }

    fn write(&mut self, text: &str) {
        if self.failure.is_none()
            && let Err(failure) = output::raw(text.as_bytes())
        {
            self.failure = Some(failure);
        }
    }

    /// The text with line breaks of its own before the terminal would break, so that its lines can be counted.
    fn wrapped(&mut self, text: &str, width: usize) -> String {
        let mut output = String::with_capacity(text.len());
        for c in text.chars() {
            // Wide characters take two columns; taking narrow ones for wide does no harm.
            let columns = if c.is_ascii() { 1 } else { 2 };
            if c == '\n' || self.column + columns >= width {
                output.push('\n');
                (self.column, self.lines) = (0, self.lines + 1);
            }
            match c {
                '\n' | '\r' => {}
                // Tabs move the cursor by who knows what.
                c if c.is_control() => {
                    output.push(' ');
                    self.column += 1;
                }
                c => {
                    output.push(c);
                    self.column += columns;
                }
            }
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_before_the_terminal_would() {
        let mut thoughts = Thoughts::new(Shown::Fold, true);
        let text = thoughts.wrapped("abcdefghij\nkl\tm你好好好", 8);
        assert_eq!(text, "abcdefg\nhij\nkl m\u{4f60}\n\u{597d}\u{597d}\u{597d}");
        assert_eq!(thoughts.lines, 3);
        for line in text.lines() {
            let columns: usize = line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
            assert!(columns < 8, "{line}");
        }
    }

    #[test]
    fn names_are_those_of_the_option() {
        assert_eq!(Shown::parse("fold"), Ok(Shown::Fold));
        assert!(Shown::parse("maybe").is_err());
    }
}
