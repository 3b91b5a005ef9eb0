//! Asks the shipped model, and prints its answer as it comes:
//! `cargo run --release -p honelm --example run -- "Tell me a story."`

use std::io::{self, Write};

use honelm::{Answer, Error, Generation, Message, Model, RunOptions};

/// Answers `question`, showing the text while it is written.
pub fn ask(question: &str, max_tokens: usize, out: &mut dyn Write) -> Result<Answer, Error> {
    // Without a name, the model that ships with the program; else a folder, a GGUF file, or the name of either.
    let path = honelm::locate(None, None)?;
    let mut model = Model::open(&path, &RunOptions::default(), &mut |_progress| true)?;

    // The model's own end tokens and sampling; here greedy, so that every run writes the same.
    let settings = Generation { max_tokens, temperature: 0.0, ..model.generation() };

    model.chat(&[Message::new("user", question)], &settings, &mut |text| {
        // Returning false stops the answer: nobody reads on when the output is closed.
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
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
