//! The display of a model's thinking.

use std::env;
use std::time::Instant;

use clap::ValueEnum;
use honelm::printable;

use crate::failure::Failure;
use crate::wrap::Wrapper;
use crate::{interrupt, output};

/// The display of the thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shown {
    /// Show all of it, dimmed
    Show,
    /// Show it dimmed, and replace it by one line when it ends
    Fold,
    /// Show nothing
    Hide,
}

impl Shown {
    /// Parses the name of a display.
    pub fn parse(name: &str) -> Result<Self, String> {
        <Self as ValueEnum>::from_str(name, true)
            .map_err(|_| format!("/thinking: found {name:?}, expected show, fold or hide"))
    }
}

/// The switch for thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Think {
    On,
    Off,
}

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Writes the thinking of one answer.
pub struct Thoughts {
    shown: Shown,
    /// Breaks lines, so that they can be counted; `None` where stdout is not a terminal.
    wrapper: Option<Wrapper>,
    colour: bool,
    begun: Option<Instant>,
    failure: Option<Failure>,
}

impl Thoughts {
    /// Creates a display; a `silent` one writes nothing.
    pub fn new(shown: Shown, silent: bool) -> Self {
        let wrapper = output::stdout_columns().map(Wrapper::new);
        // Text that cannot be removed later is not written at all.
        let shown = match (shown, &wrapper) {
            _ if silent => Shown::Hide,
            (Shown::Fold, None) => Shown::Hide,
            _ => shown,
        };
        let colour = wrapper.is_some() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { shown, wrapper, colour, begun: None, failure: None }
    }

    /// Writes a piece. Returns `false` to stop the generation.
    pub fn piece(&mut self, text: &str) -> bool {
        self.begun.get_or_insert_with(Instant::now);
        if self.shown != Shown::Hide {
            let laid_out = match &mut self.wrapper {
                Some(wrapper) => wrapper.push(&printable(text)),
                None => text.to_owned(),
            };
            self.write_dimmed(&laid_out);
        }
        self.failure.is_none() && !interrupt::pressed()
    }

    /// Ends the current thinking.
    pub fn end(&mut self) {
        let Some(begun) = self.begun.take() else { return };
        let rest = self.wrapper.as_mut().map(Wrapper::finish).unwrap_or_default();
        match self.shown {
            Shown::Hide => {}
            Shown::Show => {
                self.write_dimmed(&rest);
                self.write("\n\n");
            }
            Shown::Fold => {
                let lines = self.wrapper.as_ref().map_or(0, Wrapper::breaks);
                let up = if lines > 0 { format!("\x1b[{lines}A") } else { String::new() };
                self.write(&format!("\r{up}\x1b[J"));
                let seconds = honelm::units::seconds(begun.elapsed().as_secs_f64());
                self.write_dimmed(&format!("(thought for {seconds}; /thinking show shows it)"));
                self.write("\n");
            }
        }
        self.wrapper = self.wrapper.take().map(Wrapper::renewed);
    }

    /// Ends the display. Fails if a write has failed.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.end();
        self.failure.map_or(Ok(()), Err)
    }

    fn write_dimmed(&mut self, text: &str) {
        if self.colour && !text.is_empty() {
            self.write(&format!("{DIM}{text}{PLAIN}"));
        } else {
            self.write(text);
        }
    }

    fn write(&mut self, text: &str) {
        if self.failure.is_none()
            && let Err(failure) = output::raw(text.as_bytes())
        {
            self.failure = Some(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_option() {
        assert_eq!(Shown::parse("fold"), Ok(Shown::Fold));
        assert!(Shown::parse("maybe").is_err());
    }
}
