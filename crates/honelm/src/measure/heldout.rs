//! Held-out texts as models read them: plain text, or JSON lines with texts and conversations.

use std::path::Path;

use honelm_engine::rendered_ids;
use honelm_eval::Protocol;
use honelm_model::Checkpoint;
use honelm_store::Digest;
use honelm_text::{Message, Tokenizer};
use serde::Deserialize;

use super::ChunkedText;
use crate::tasks::Reader;
use crate::texts::read;
use crate::{Error, TextSource};

/// A held-out text with the facts that reports show.
pub(crate) struct Heldout {
    /// The file name, or `shipped`.
    pub name: String,
    /// The SHA-256 digest of its bytes.
    pub digest: String,
    /// Warnings about the text.
    pub warnings: Vec<String>,
    pub chunked: ChunkedText,
}

/// A line of JSON lines. Other fields are ignored.
#[derive(Deserialize)]
struct Line {
    text: Option<String>,
    messages: Option<Vec<Turn>>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

impl Heldout {
    /// Reads a text for a model with a context of `context` tokens; with `limit`, keeps only that many chunks. A file whose
    /// name ends in `.jsonl` has a text or a conversation per line; conversations are formatted with the model's chat
    /// template.
    ///
    /// # Errors
    /// As [`TextSource::heldout`] and [`ChunkedText::new`]; [`Error::Text`] for an invalid line, and for a conversation where
    /// the model has no chat template.
    pub(crate) fn read(
        source: &TextSource,
        checkpoint: &Checkpoint,
        tokenizer: &Tokenizer,
        (protocol, limit): (Protocol, Option<usize>),
        context: usize,
    ) -> Result<Self, Error> {
        if let TextSource::File(path) = source
            && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("jsonl"))
        {
            let contents = read(path)?;
            let tokens = lines(path, &contents, checkpoint, tokenizer)?;
            return Ok(Self {
                name: path.to_string_lossy().into_owned(),
                digest: Digest::default().with(&contents).hex(),
                warnings: Vec::new(),
                chunked: ChunkedText::of(tokenizer, tokens, protocol, limit, context)?,
            });
        }
        let text = source.heldout()?;
        let chunked = ChunkedText::new(tokenizer, &text.documents[0], protocol, limit, context)?;
        Ok(Self { name: text.name, digest: text.digest, warnings: text.warnings, chunked })
    }
}

/// Returns the tokens of all lines, one after the other.
fn lines(path: &Path, contents: &str, checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Result<Vec<u32>, Error> {
    let mut reader = None;
    let mut tokens = Vec::new();
    for (at, line) in contents.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |problem: String| Error::Text {
            path: path.display().to_string(),
            problem: format!("line {}: {problem}", at + 1),
        };
        let line: Line = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        match (line.text, line.messages) {
            (Some(text), None) => tokens.extend(tokenizer.encode_running(&text)?),
            (None, Some(turns)) => {
                let reader = match &mut reader {
                    Some(reader) => reader,
                    none => none.insert(Reader::new(checkpoint)?),
                };
                if !reader.has_template {
                    return Err(bad("messages need a chat template, and the model has none".to_owned()));
                }
                let messages: Vec<Message> =
                    turns.into_iter().map(|turn| Message::new(turn.role, turn.content)).collect();
                tokens.extend(rendered_ids(tokenizer, &reader.rendered(&messages, false)?, false)?);
            }
            _ => return Err(bad("expected an object with either 'text' or 'messages'".to_owned())),
        }
    }
    Ok(tokens)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_read_in_the_models_template() {
        let checkpoint = Checkpoint::open(crate::locate(None, None).unwrap()).unwrap();
        let tokenizer = crate::open::tokenizer_of(&checkpoint).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chats.jsonl");
        let read = |contents: &str| {
            std::fs::write(&path, contents).unwrap();
            let source = TextSource::File(path.clone());
            Heldout::read(&source, &checkpoint, &tokenizer, (Protocol::Gptq(4), None), 64)
        };
        let chat =
            r#"{"messages": [{"role": "user", "content": "Hi <|end|>"}, {"role": "assistant", "content": "Yes."}]}"#;
        let found = read(&format!("{chat}\n{{\"text\": \"Once upon\", \"source\": 1}}\n")).unwrap();
        let text = tokenizer.decode(&found.chunked.tokens, false);
        let bos = "<|bos|>";
        let expected = format!("{bos}<|user|>Hi <|end|><|assistant|>Yes.<|end|>{bos}Once upon");
        assert_eq!(text, expected);
        // The end token of the template is one; the text of it in a message is not.
        let end = tokenizer.id_of("<|end|>").unwrap();
        assert_eq!(found.chunked.tokens.iter().filter(|&&token| token == end).count(), 1);
        for (wrong, said) in [
            ("{}", "line 2: expected an object with either"),
            (r#"{"text": "a", "messages": []}"#, "line 2: expected an object with either"),
            ("nonsense", "line 2: expected"),
            (r#"{"messages": [{"role": "user"}]}"#, "line 2: missing field `content`"),
        ] {
            let error = read(&format!("{chat}\n{wrong}\n")).err().unwrap();
            assert!(error.code() == "invalid-text" && error.to_string().contains(said), "{error}");
        }
    }
}
