//! `honelm tokenize`: text to tokens and back.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use clap::Args;
use honelm::{EncodeOptions, Tokenizer};
use serde_json::json;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{help, input, interrupt, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm tokenize pocket -p \"Hello world\"", ""),
            ("honelm tokenize vocabulary.gguf -p - < text.txt", "all of stdin, with its last newline"),
            ("honelm tokenize tokenizer.model -p \"Hello\" --json", ""),
            ("honelm tokenize pocket -p \"<|user|>Hi\" --parse-special", ""),
            ("honelm tokenize pocket --decode -p \"[1, 2, 3]\"", "the exact bytes of these tokens"),
        ],
        &["Unless asked for, no tokens are added, and the texts of special tokens are plain text."],
    )
}

/// Convert text to tokens, or tokens to text
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Tokenize {
    /// The model: a folder, a GGUF file, a tokenizer file or a name; weights are not needed [default: the shipped model]
    model: Option<String>,

    /// The text, or with --decode the token ids; `-` reads stdin [default: stdin, if it is a pipe or a file]
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// Print the text of token ids, which are separated by spaces or commas
    #[arg(long, conflicts_with_all = ["add_special", "parse_special"])]
    decode: bool,

    /// Add the special tokens that the model expects around a text, usually BOS
    #[arg(long)]
    add_special: bool,

    /// Read the texts of special tokens as these tokens [default: as plain text]
    #[arg(long)]
    parse_special: bool,
}

impl Tokenize {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        // No file is written: Ctrl-C may end the command at any time.
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

    /// Returns the text: the option, or stdin.
    fn text(&self) -> Result<String, Failure> {
        match self.prompt.as_deref() {
            Some("-") => input::stdin_text(input::MOST_TEXT),
            Some(text) => Ok(text.to_owned()),
            None if io::stdin().is_terminal() => {
                Err(Failure::Usage("no text: give it by -p TEXT or on stdin".to_owned()))
            }
            None => input::stdin_text(input::MOST_TEXT),
        }
    }
}

/// Parses token ids as people and programs write them.
fn ids(text: &str) -> Result<Vec<u32>, Failure> {
    let separates = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']');
    let id = |word: &str| {
        word.parse().map_err(|_| {
            Failure::Usage(format!("--decode: {word:?} is not a token id; expected numbers such as 1 2 3"))
        })
    };
    text.split(separates).filter(|word| !word.is_empty()).map(id).collect()
}

/// Prints ids and pieces, one token per line.
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

/// Prints the bytes of tokens. An id outside the vocabulary is an error.
fn decode(tokenizer: &Tokenizer, ids: &[u32], as_json: bool) -> Result<(), Failure> {
    let size = tokenizer.vocab_size();
    if let Some(id) = ids.iter().find(|&&id| id as usize >= size) {
        return Err(Failure::Usage(format!(
            "--decode: token id {id} is not in the vocabulary: expected 0 to {}",
            size.saturating_sub(1)
        )));
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

/// Formats the bytes of a token as text, with escapes such as `\n` and `\\`, and `\xE2` for bytes that are not UTF-8.
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
