//! Asks the shipped model a question and streams its answer:
//! `cargo run --release -p honelm --example run -- "Tell me a story."`

use std::io::{self, Write};

use honelm::{Answer, Cancel, Error, Generation, Message, Model, RunOptions};

/// Answers `question` and writes the text to `out` as it is generated.
pub fn ask(question: &str, max_tokens: usize, out: &mut dyn Write) -> Result<Answer, Error> {
    // Without a name, finds the model that ships with the program.
    let path = honelm::locate(None, None)?;
    let mut model = Model::open(&path, &RunOptions::default(), &mut |_event| true)?;

    // The model's own end tokens, but greedy sampling, so that every run gives the same answer.
    let settings = Generation { max_tokens, temperature: 0.0, ..model.generation() };

    // The flag ends the answer, for example when the output is closed.
    let cancel = Cancel::new();
    model.chat(&[Message::new("user", question)], &settings, &cancel, &mut |update| {
        if out.write_all(update.text().as_bytes()).and_then(|()| out.flush()).is_err() {
            cancel.cancel();
        }
    })
}

#[allow(dead_code, reason = "the tests include this file for `ask`")]
fn main() -> Result<(), Error> {
    let question = std::env::args().nth(1).unwrap_or_else(|| "Tell me a story.".to_owned());
    let answer = ask(&question, 200, &mut io::stdout())?;
    let rate = answer.decode_tokens_per_second.unwrap_or(0.0);
    eprintln!("\n{} tokens, {rate:.0} tok/s, ended by {}", answer.completion_tokens, answer.finish_reason);
    Ok(())
}
