//! The `decoder` of tokenizer.json, which converts tokens to text.

use serde_json::Value;
use tokenizers::decoders::wordpiece::cleanup;

use crate::error::{Result, TextError};
use crate::vocabulary::{Family, SPACE, TokenKind, Vocabulary};

/// The longest text that is replaced, in bytes.
const MAX_PATTERN: usize = 256;
/// The largest factor by which all replacements together may grow a text.
const MAX_GROWTH: usize = 16;

/// The steps of a decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decoder {
    pub family: Family,
    /// `true` if the visible spaces of the first token are dropped.
    drops_first_spaces: bool,
    /// The replacements inside each token.
    each: Vec<Replacement>,
    /// The steps on the whole text.
    whole: Vec<Step>,
    /// The form of words, if the tokens are those of WordPiece.
    words: Option<Words>,
}

/// The form in which WordPiece writes words: with spaces between them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Words {
    /// The text before a token that continues a word.
    prefix: String,
    /// `true` if the spaces before punctuation and English contractions are dropped.
    cleanup: bool,
}

impl Words {
    /// Returns the text of a token.
    fn text(&self, token: &str, first: bool) -> String {
        let text = match token.strip_prefix(&self.prefix).filter(|_| !first) {
            Some(continues) => continues.to_owned(),
            None if first => token.to_owned(),
            None => format!(" {token}"),
        };
        if self.cleanup { cleanup(&text) } else { text }
    }
}

/// A text and its replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Replacement {
    from: Vec<u8>,
    to: Vec<u8>,
}

/// A step on the whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Removes a byte from the start of the text, up to a number of times.
    Strip(u8, usize),
    Replace(Replacement),
}

impl Decoder {
    /// Creates the decoder of SentencePiece models, which GGUF's readers use for them too.
    pub(crate) fn of_pieces(drops_leading_space: bool) -> Self {
        let whole = drops_leading_space.then_some(Step::Strip(b' ', 1)).into_iter().collect();
        Self { family: Family::SentencePiece, drops_first_spaces: false, each: Vec::new(), whole, words: None }
    }

    /// Reads a `decoder`.
    ///
    /// # Errors
    /// [`TextError::Unsupported`] for a step that is unknown, or that is not supported at its position.
    pub(crate) fn read(value: &Value) -> Result<Self> {
        let mut steps = Vec::new();
        flatten(value, &mut steps);
        if let [step] = steps[..]
            && step["type"] == "WordPiece"
        {
            let prefix = step["prefix"].as_str().unwrap_or("##").to_owned();
            let words = Some(Words { prefix, cleanup: step["cleanup"].as_bool().unwrap_or(true) });
            let (each, whole) = (Vec::new(), Vec::new());
            return Ok(Self { family: Family::WordPiece, drops_first_spaces: false, each, whole, words });
        }
        let bytes = steps.iter().any(|step| step["type"] == "ByteLevel");
        let family = if bytes { Family::ByteLevel } else { Family::SentencePiece };
        let mut reader = Reader {
            decoder: Self { family, drops_first_spaces: false, each: Vec::new(), whole: Vec::new(), words: None },
            spelled: false,
            fused: false,
            growth: 1,
        };
        steps.into_iter().try_for_each(|step| reader.step(step))?;
        if reader.spelled { Ok(reader.decoder) } else { Err(unsupported(value)) }
    }

    /// Returns `true` if a space at the start of a text is dropped.
    pub(crate) fn drops_leading_space(&self) -> bool {
        self.drops_first_spaces || self.whole.iter().any(|step| matches!(step, Step::Strip(b' ', _)))
    }

    /// Appends the bytes of a single token.
    pub(crate) fn push_token(&self, vocabulary: &Vocabulary, id: u32, out: &mut Vec<u8>) {
        let start = out.len();
        vocabulary.push_bytes(id, self.family, out);
        for replacement in &self.each {
            let mut text = out.split_off(start);
            replacement.drain(&mut text, true, out);
        }
    }

    /// Starts decoding a text. `begins` is `false` if the text continues another.
    pub(crate) fn flow(&self, begins: bool) -> Flow {
        let left = self.whole.iter().map(|step| match step {
            Step::Strip(_, count) if begins => *count,
            _ => 0,
        });
        Flow { first: begins, state: left.map(|left| (left, Vec::new())).collect() }
    }
}

/// Flattens nested sequences of steps.
fn flatten<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    match value["decoders"].as_array() {
        Some(steps) => steps.iter().for_each(|step| flatten(step, out)),
        None => out.push(value),
    }
}

fn unsupported(found: &Value) -> TextError {
    TextError::Unsupported {
        part: "decoder",
        found: found.to_string(),
        expected: "WordPiece, ByteLevel, Metaspace, or the replacement of ▁; then Fuse, Strip at the start, Replace of a text",
    }
}

/// The state while the steps are read in order.
struct Reader {
    decoder: Decoder,
    /// `true` after the steps that decode visible spaces or bytes.
    spelled: bool,
    /// `true` after the tokens have been joined.
    fused: bool,
    growth: usize,
}

impl Reader {
    fn step(&mut self, step: &Value) -> Result<()> {
        let number = |field: &str| step[field].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        match step["type"].as_str() {
            Some("ByteLevel") if !self.spelled => (self.spelled, self.fused) = (true, true),
            Some("ByteFallback") => {}
            Some("Fuse") => self.fused = true,
            Some("Metaspace") if !self.spelled && step["replacement"].as_str() == Some("▁") => {
                self.spelled = true;
                let never = step["prepend_scheme"].as_str() == Some("never");
                self.decoder.drops_first_spaces = !never && step["add_prefix_space"].as_bool() != Some(false);
            }
            Some("Replace") => return self.replace(step),
            Some("Strip") if self.fused && number("stop") == 0 => match step["content"].as_str().map(str::as_bytes) {
                Some([byte]) if byte.is_ascii() => self.decoder.whole.push(Step::Strip(*byte, number("start"))),
                _ => return Err(unsupported(step)),
            },
            // This step strips nothing.
            Some("Strip") if number("start") == 0 && number("stop") == 0 => {}
            _ => return Err(unsupported(step)),
        }
        Ok(())
    }

    fn replace(&mut self, step: &Value) -> Result<()> {
        let (Some(from), Some(to)) = (step["pattern"]["String"].as_str(), step["content"].as_str()) else {
            return Err(unsupported(step));
        };
        let spells = from == "▁" && to == " " && self.decoder.family == Family::SentencePiece;
        if spells && !self.spelled {
            self.spelled = true;
            return Ok(());
        }
        self.growth = self.growth.saturating_mul(to.len().div_ceil(from.len().max(1)).max(1));
        if !self.spelled || from.is_empty() || from.len() > MAX_PATTERN || self.growth > MAX_GROWTH {
            return Err(unsupported(step));
        }
        let replacement = Replacement { from: from.into(), to: to.into() };
        match self.fused {
            true => self.decoder.whole.push(Step::Replace(replacement)),
            false => self.decoder.each.push(replacement),
        }
        Ok(())
    }
}

impl Replacement {
    /// Moves the final part of a text to `out`: all of it at the `end`, otherwise the part that cannot belong to a
    /// further match.
    fn drain(&self, text: &mut Vec<u8>, end: bool, out: &mut Vec<u8>) {
        let mut start = 0;
        let mut at = 0;
        while at + self.from.len() <= text.len() {
            if text[at..].starts_with(&self.from) {
                out.extend_from_slice(&text[start..at]);
                out.extend_from_slice(&self.to);
                at += self.from.len();
                start = at;
            } else {
                at += 1;
            }
        }
        let kept = if end { 0 } else { self.beginning(&text[start..]) };
        let known = text.len() - kept;
        out.extend_from_slice(&text[start..known]);
        text.drain(..known);
    }

    /// Returns the length of the longest suffix that a match may begin with.
    fn beginning(&self, text: &[u8]) -> usize {
        let longest = text.len().min(self.from.len() - 1);
        (1..=longest).rev().find(|&length| self.from.starts_with(&text[text.len() - length..])).unwrap_or(0)
    }
}

/// A text being decoded.
pub(crate) struct Flow {
    /// `true` before the first token.
    first: bool,
    /// For each step, the number of bytes that it may still strip, and the text that waits for its continuation.
    state: Vec<(usize, Vec<u8>)>,
}

impl Flow {
    /// Adds a token and appends the text that is now final.
    pub(crate) fn push(&mut self, decoder: &Decoder, vocabulary: &Vocabulary, id: u32, out: &mut Vec<u8>) {
        let Some(token) = vocabulary.get(id) else { return };
        if let Some(words) = &decoder.words {
            if token.kind == TokenKind::Unused {
                return;
            }
            let first = std::mem::take(&mut self.first);
            return out.extend_from_slice(words.text(&token.text, first).as_bytes());
        }
        let plain = matches!(token.kind, TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unknown);
        if std::mem::take(&mut self.first) && decoder.drops_first_spaces && plain {
            let text: String = token.text.chars().filter(|&c| c != SPACE).collect();
            return self.pass(decoder, text.into_bytes(), false, out);
        }
        if self.state.is_empty() {
            return decoder.push_token(vocabulary, id, out);
        }
        let mut bytes = Vec::new();
        decoder.push_token(vocabulary, id, &mut bytes);
        self.pass(decoder, bytes, false, out);
    }

    /// Appends the remaining text.
    pub(crate) fn finish(&mut self, decoder: &Decoder, out: &mut Vec<u8>) {
        self.pass(decoder, Vec::new(), true, out);
    }

    /// Passes text through all steps.
    fn pass(&mut self, decoder: &Decoder, mut text: Vec<u8>, end: bool, out: &mut Vec<u8>) {
        for (step, (left, waiting)) in decoder.whole.iter().zip(&mut self.state) {
            match step {
                Step::Strip(byte, _) => {
                    let leading = text.iter().take_while(|found| *found == byte).count();
                    let dropped = leading.min(*left);
                    *left = if dropped == text.len() { *left - dropped } else { 0 };
                    text.drain(..dropped);
                }
                Step::Replace(replacement) => {
                    waiting.append(&mut text);
                    replacement.drain(waiting, end, &mut text);
                }
            }
        }
        out.append(&mut text);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use serde_json::json;
    use tokenizers::{Decoder as _, DecoderWrapper};

    use super::*;

    const TOKENS: [&str; 8] = ["▁▁", "▁a", "\n", "b", "▁", "▁\n", "aa", "é"];

    /// Returns the text of tokens that are decoded one at a time, all at once, and by the library.
    fn texts(decoder: &Value, ids: &[u32]) -> [String; 2] {
        let claims = (0u32..).zip(TOKENS).map(|(id, text)| (text.to_owned(), id, TokenKind::Normal));
        let vocabulary = Vocabulary::from_claims(claims.collect()).unwrap();
        let read = Decoder::read(decoder).unwrap();
        let mut flow = read.flow(true);
        let mut bytes = Vec::new();
        ids.iter().for_each(|&id| flow.push(&read, &vocabulary, id, &mut bytes));
        flow.finish(&read, &mut bytes);
        let library: DecoderWrapper = serde_json::from_value(decoder.clone()).unwrap();
        let tokens = ids.iter().map(|&id| TOKENS[id as usize].to_owned()).collect();
        [String::from_utf8(bytes).unwrap(), library.decode(tokens).unwrap()]
    }

    #[test]
    fn every_step_does_what_the_library_does() {
        let spaces = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        let strip = |start: u32| json!({"type": "Strip", "content": " ", "start": start, "stop": 0});
        let fuse = json!({"type": "Fuse"});
        let metaspace =
            |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
        for steps in [
            vec![spaces.clone(), json!({"type": "ByteFallback"}), fuse.clone(), strip(1)],
            vec![spaces.clone(), fuse.clone(), strip(1), replace("\n ", "\n")],
            vec![spaces.clone(), fuse.clone(), replace("\n ", "\n"), strip(2)],
            vec![spaces.clone(), fuse.clone(), replace("aa", "b"), replace("bb", "<>")],
            vec![spaces.clone(), replace(" a", "x"), fuse.clone(), strip(1)],
            vec![metaspace("always")],
            vec![metaspace("first"), fuse.clone(), replace("ab", "")],
            vec![metaspace("never")],
        ] {
            let decoder = json!({"type": "Sequence", "decoders": steps});
            for seed in 0..400_u32 {
                let ids: Vec<u32> = (0..seed % 7).map(|at| (seed * 31 + at * at * 17 + at * seed) % 8).collect();
                let [found, expected] = texts(&decoder, &ids);
                assert_eq!(found, expected, "{decoder} {ids:?}");
            }
        }
    }

    #[test]
    fn steps_that_cannot_be_followed_are_refused_by_name() {
        let spaces = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        for steps in [
            vec![json!({"type": "CTC"})],
            vec![spaces.clone(), json!({"type": "Replace", "pattern": {"Regex": "a+"}, "content": ""})],
            vec![spaces.clone(), json!({"type": "Strip", "content": " ", "start": 1, "stop": 0})],
            vec![
                spaces.clone(),
                json!({"type": "Fuse"}),
                json!({"type": "Strip", "content": " ", "start": 0, "stop": 1}),
            ],
            vec![double.clone(), spaces.clone()],
            [vec![spaces], vec![double; 40]].concat(),
        ] {
            let error = Decoder::read(&json!({"type": "Sequence", "decoders": steps})).unwrap_err();
            assert_eq!(error.code(), "tokenizer-unsupported");
        }
    }
}
