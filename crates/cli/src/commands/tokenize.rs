//! `honelm tokenize`: text to tokens and back.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use clap::Args;
use honelm::{EncodeOptions, Tokenizer};
use serde_json::json;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{input, interrupt, output};

const EXAMPLES: &str = "\
Examples:
  honelm tokenize pocket -p \"Hello world\"
  honelm tokenize vocabulary.gguf -p - < text.txt          stdin to the byte, its last newline too
  honelm tokenize tokenizer.model -p \"Hello\" --json
  honelm tokenize pocket -p \"<|user|>Hi\" --parse-special
  honelm tokenize pocket --decode -p \"[1, 2, 3]\"           the exact bytes

Nothing is added, and special tokens in the text are plain text, unless asked for.";

/// Show the tokens of a text, or the text of tokens
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Tokenize {
    /// A folder, a GGUF file (its vocabulary is enough), a tokenizer's file, or a name; by default the shipped model
    model: Option<String>,

    /// The text, or with --decode the token ids; `-`, or nothing beside a pipe, reads stdin
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// Print the text of token ids, separated by spaces or commas
    #[arg(long, conflicts_with_all = ["add_special", "parse_special"])]
    decode: bool,

    /// Add what the model wants around a text, usually BOS
    #[arg(long)]
    add_special: bool,

    /// Take special tokens in the text for what they are
    #[arg(long)]
    parse_special: bool,
}

impl Tokenize {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        // Nothing is written here: Ctrl-C may end it at any moment.
        interrupt::watched(false);
        let text = self.text()?;
        let ids = if self.decode { Some(ids(&text)?) } else { None };
        let tokenizer = honelm::open_tokenizer(&global.model(self.model.as_deref())?)?;
        if let Some(ids) = ids {
            decode(&tokenizer, &ids, global.json)?;
        } else {
            let options = EncodeOptions { add_special: self.add_special, parse_special: self.parse_special };
            let ids = tokenizer.encode(&text, options).map_err(honelm::Error::from)?;
            encode(&tokenizer, &text, &ids, global.json)?;
        }
        Ok(0)
    }

    /// The text, from wherever it comes.
    fn text(&self) -> Result<String, Failure> {
        match self.prompt.as_deref() {
            Some("-") => stdin(),
            Some(text) => Ok(text.to_owned()),
            None if io::stdin().is_terminal() => {
                Err(Failure::Usage("no text: give one with -p TEXT, or through a pipe".to_owned()))
            }
            None => stdin(),
        }
    }
}

/// All of stdin, every byte of it.
fn stdin() -> Result<String, Failure> {
    String::from_utf8(input::stdin(input::MOST_TEXT)?).map_err(|e| {
        let problem = format!("not UTF-8 from byte {} on", e.utf8_error().valid_up_to());
        honelm::Error::Text { path: "stdin".to_owned(), problem }.into()
    })
}

/// Token ids as people and programs write them.
fn ids(text: &str) -> Result<Vec<u32>, Failure> {
    let separates = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']');
    let id = |word: &str| {
        word.parse().map_err(|_| Failure::Usage(format!("{word:?} is no token id; expected numbers like 1 2 3")))
    };
    text.split(separates).filter(|word| !word.is_empty()).map(id).collect()
}

/// Ids and pieces, one a line.
fn encode(tokenizer: &Tokenizer, text: &str, ids: &[u32], as_json: bool) -> Result<(), Failure> {
    let piece = |&id: &u32| readable(&tokenizer.token_bytes(id).unwrap_or_default());
    if as_json {
        let pieces: Vec<String> = ids.iter().map(piece).collect();
        return output::json_line(&json!({ "text": text, "token_ids": ids, "pieces": pieces }));
    }
    let width = ids.iter().max().map_or(1, |id| id.to_string().len());
    let mut out = String::new();
    for id in ids {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{id:width$}  \"{}\"", piece(id).replace('"', "\\\""));
    }
    output::write(&out)
}

/// The bytes of tokens; ids beyond the vocabulary are an error rather than nothing.
fn decode(tokenizer: &Tokenizer, ids: &[u32], as_json: bool) -> Result<(), Failure> {
    let size = tokenizer.vocab_size();
    if let Some(id) = ids.iter().find(|&&id| id as usize >= size) {
        return Err(Failure::Usage(format!("token id {id} is outside the vocabulary of {size}")));
    }
    let bytes = tokenizer.decode_bytes(ids);
    if !as_json {
        return output::contents(&bytes);
    }
    let mut document = json!({ "token_ids": ids, "text": String::from_utf8_lossy(&bytes) });
    if std::str::from_utf8(&bytes).is_err() {
        document["bytes"] = json!(bytes);
    }
    output::json_line(&document)
}

/// A token's bytes as text, with `\n`, `\\`, and `\xE2` for what is no character of its own.
fn readable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\'' => out.push(c),
                _ => out.extend(c.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_can_be_read() {
        assert_eq!(readable(b" a\"'\n\\"), " a\"'\\n\\\\");
        assert_eq!(readable("é▁".as_bytes()), "é▁");
        assert_eq!(readable(b"\xE2\x96b\0"), "\\xE2\\x96b\\0");
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        assert_eq!(ids("[1, 2,3]\n 4").unwrap_or_default(), [1, 2, 3, 4]);
        assert_eq!(ids("").unwrap_or_default(), Vec::<u32>::new());
        for wrong in ["1 x", "-1", "4294967296", "1.5"] {
            assert!(matches!(ids(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
