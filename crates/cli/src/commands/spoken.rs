//! The streaming output of an answer: its text, its thinking, its calls of tools.

use honelm::{Answer, AnswerEvent, Update};

use super::generation::Streamer;
use super::thoughts::{Shown, Thoughts};
use crate::failure::Failure;
use crate::{interrupt, output};

/// Writes an answer to stdout while it is generated. Calls are JSON objects, one a line.
pub struct Spoken {
    out: Streamer,
    thoughts: Thoughts,
    /// `true` if the text written last did not end its line.
    in_line: bool,
    goes_on: bool,
}

impl Spoken {
    /// Creates an output; a `silent` one writes nothing and only notices Ctrl-C.
    pub fn new(shown: Shown, silent: bool) -> Self {
        let (out, thoughts) = (Streamer::new(silent), Thoughts::new(shown, silent));
        Self { out, thoughts, in_line: false, goes_on: true }
    }

    /// Writes what is new. Returns `false` to stop the generation.
    pub fn update(&mut self, update: &Update) -> bool {
        for part in update.parts() {
            match part {
                AnswerEvent::Reasoning(text) => self.goes_on &= self.thoughts.piece(text),
                AnswerEvent::Text(text) => self.write(text),
                AnswerEvent::CallBegins { name, .. } => {
                    let before = if self.in_line { "\n" } else { "" };
                    self.write(&format!("{before}{{\"name\": {}, \"arguments\": ", serde_json::json!(name)));
                }
                AnswerEvent::CallArguments { fragment, .. } => self.write(fragment),
                AnswerEvent::CallEnds { .. } => self.write("}\n"),
                AnswerEvent::CallBroken { index, .. } => {
                    if index.is_some() {
                        self.write("\n");
                    }
                }
            }
        }
        // While the prompt is read there is no text, but there may be a Ctrl-C.
        self.goes_on && !interrupt::pressed()
    }

    fn write(&mut self, text: &str) {
        self.thoughts.end();
        self.goes_on &= self.out.piece(text);
        self.in_line = if text.is_empty() { self.in_line } else { !text.ends_with('\n') };
    }

    /// Ends the output with a newline. Fails if a write has failed.
    pub fn end(self) -> Result<(), Failure> {
        self.thoughts.finish()?;
        self.out.end()
    }
}

/// Reports the broken calls of an answer.
pub fn warn_of_broken_calls(answer: &Answer) {
    for call in &answer.broken_calls {
        output::note(&format!("warning: a call of a tool is broken: {}", call.message));
    }
}
