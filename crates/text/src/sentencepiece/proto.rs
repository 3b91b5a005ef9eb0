//! `tokenizer.model`: SentencePiece's protocol buffer. Source: `sentencepiece_model.proto`.
//!
//! Fields that decide ids are read or refused by name; what only training uses is passed over.

use super::{Algorithm, Charsmap, Normalizer, Spec};
use crate::added::Added;
use crate::error::{Result, TextError};
use crate::vocabulary::{TokenKind, Vocabulary, byte_token};

/// The file's name, for messages.
const FILE: &str = "tokenizer.model";

/// A model, and which tokens begin and end a text and fill a batch.
#[derive(Debug)]
pub(crate) struct ModelFile {
    pub spec: Spec,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub pad: Option<u32>,
}

/// A field's value on the wire.
enum Wire<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64,
    Bytes(&'a [u8]),
}

/// A message: bytes, and where they are, for errors.
struct Message<'a> {
    bytes: &'a [u8],
    place: String,
}

impl<'a> Message<'a> {
    fn error(&self, reason: impl ToString) -> TextError {
        TextError::malformed(FILE, &self.place, reason)
    }

    /// A number of up to 64 bits, seven in each byte.
    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.bytes.split_first().ok_or_else(|| self.error("ends inside a number"))?;
            self.bytes = rest;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error("a number has more than 64 bits"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let taken = usize::try_from(length).ok().and_then(|length| self.bytes.split_at_checked(length));
        let (taken, rest) = taken
            .ok_or_else(|| self.error(format!("a field of {length} bytes, where {} are left", self.bytes.len())))?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The next field: its number and value; `None` at the end.
    fn field(&mut self) -> Result<Option<(u64, Wire<'a>)>> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Wire::Fixed64
            }
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(self.take(4)?.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))),
            other => return Err(self.error(format!("a field has the undefined wire type {other}"))),
        };
        match key >> 3 {
            0 => Err(self.error("a field has the number 0")),
            number => Ok(Some((number, value))),
        }
    }

    fn wrong(&self, field: &str, expected: &str) -> TextError {
        self.error(format!("{field}: expected {expected}"))
    }

    fn bytes_of(&self, field: &str, value: &Wire<'a>) -> Result<&'a [u8]> {
        if let Wire::Bytes(bytes) = value { Ok(bytes) } else { Err(self.wrong(field, "bytes")) }
    }

    fn text(&self, field: &str, value: &Wire<'a>) -> Result<String> {
        let bytes = self.bytes_of(field, value)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| self.wrong(field, "UTF-8"))
    }

    fn float(&self, field: &str, value: &Wire<'a>) -> Result<f32> {
        if let Wire::Fixed32(bits) = value { Ok(f32::from_bits(*bits)) } else { Err(self.wrong(field, "a float")) }
    }

    fn number(&self, field: &str, value: &Wire<'a>) -> Result<u64> {
        if let Wire::Varint(number) = value { Ok(*number) } else { Err(self.wrong(field, "a number")) }
    }

    fn flag(&self, field: &str, value: &Wire<'a>) -> Result<bool> {
        match self.number(field, value)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong(field, "true or false")),
        }
    }

    fn child(&self, field: &str, value: &Wire<'a>) -> Result<Message<'a>> {
        Ok(Message { bytes: self.bytes_of(field, value)?, place: field.to_owned() })
    }
}

/// `trainer_spec`, as far as it matters after training.
struct Trainer {
    algorithm: Algorithm,
    byte_fallback: bool,
    bos: String,
    eos: String,
    pad: String,
}

/// Reads the file. `added` are tokens of the files beside it; those that it lacks are appended to its vocabulary.
///
/// # Errors
/// [`TextError::Malformed`] naming the field, [`TextError::Unsupported`] for kinds of models that are not read, and
/// what a vocabulary can have wrong.
pub(crate) fn read(bytes: &[u8], added: Vec<Added>) -> Result<ModelFile> {
    let mut model = Message { bytes, place: "the file".to_owned() };
    let (mut claims, mut scores) = (Vec::new(), Vec::new());
    let mut trainer = Trainer {
        algorithm: Algorithm::Unigram,
        byte_fallback: false,
        bos: "<s>".to_owned(),
        eos: "</s>".to_owned(),
        pad: "<pad>".to_owned(),
    };
    let mut normalizer =
        Normalizer { charsmap: None, add_dummy_prefix: true, remove_extra_whitespaces: true, escape_whitespaces: true };
    while let Some((number, value)) = model.field()? {
        match number {
            1 => {
                let id = u32::try_from(claims.len()).map_err(|_| model.error("too many pieces"))?;
                let (text, score, kind) = piece(model.child(&format!("pieces[{id}]"), &value)?)?;
                claims.push((text, id, kind));
                scores.push(score);
            }
            2 => read_trainer(model.child("trainer_spec", &value)?, &mut trainer)?,
            3 => read_normalizer(model.child("normalizer_spec", &value)?, &mut normalizer)?,
            5 => refuse_denormalizer(model.child("denormalizer_spec", &value)?)?,
            _ => {}
        }
    }
    let unk = {
        let mut unknown = claims.iter().filter(|(_, _, kind)| *kind == TokenKind::Unknown);
        match (unknown.next(), unknown.next()) {
            (Some((_, id, _)), None) => Some(*id),
            (None, _) => return Err(TextError::Missing { field: "tokenizer.model: a piece of type UNKNOWN" }),
            (Some((_, a, _)), Some((_, b, _))) => {
                return Err(model.error(format!("pieces[{a}] and pieces[{b}] are both of type UNKNOWN")));
            }
        }
    };
    if trainer.byte_fallback {
        check_bytes(&claims)?;
    }
    let vocabulary = with_added(claims, &added)?;
    let role = |text: &str| {
        let id = vocabulary.id_of(text)?;
        vocabulary.get(id).is_some_and(|token| token.kind == TokenKind::Control).then_some(id)
    };
    Ok(ModelFile {
        bos: role(&trainer.bos),
        eos: role(&trainer.eos),
        pad: role(&trainer.pad),
        spec: Spec {
            scores,
            algorithm: trainer.algorithm,
            unk,
            byte_fallback: trainer.byte_fallback,
            normalizer,
            added: added_of(&vocabulary, added),
            vocabulary,
        },
    })
}

/// The pieces with the added tokens that are not among them.
fn with_added(mut claims: Vec<(String, u32, TokenKind)>, added: &[Added]) -> Result<Vocabulary> {
    let known: std::collections::HashMap<&str, u32> = claims.iter().map(|(text, id, _)| (text.as_str(), *id)).collect();
    let mut new = Vec::new();
    for token in added.iter().filter(|token| !token.content.is_empty()) {
        match known.get(token.content.as_str()) {
            Some(&first) if first != token.id => {
                return Err(TextError::DuplicateToken { token: token.content.clone(), first, second: token.id });
            }
            Some(_) => {}
            None => {
                let kind = if token.special { TokenKind::Control } else { TokenKind::UserDefined };
                new.push((token.content.clone(), token.id, kind));
            }
        }
    }
    claims.extend(new);
    Vocabulary::from_claims(claims)
}

/// Added tokens that are found as wholes: special pieces are so anyway, and need no second entry.
fn added_of(vocabulary: &Vocabulary, added: Vec<Added>) -> Vec<Added> {
    let special = |id: u32| vocabulary.get(id).is_some_and(|token| token.kind.is_special());
    added
        .into_iter()
        .filter(|token| !token.content.is_empty())
        .map(|token| Added { special: token.special || special(token.id), ..token })
        .collect()
}

/// One piece: text, score, kind.
fn piece(mut message: Message<'_>) -> Result<(String, f32, TokenKind)> {
    let (mut text, mut score, mut kind) = (String::new(), 0.0, TokenKind::Normal);
    while let Some((number, value)) = message.field()? {
        match number {
            1 => text = message.text("piece", &value)?,
            2 => score = message.float("score", &value)?,
            3 => {
                let found = message.number("type", &value)?;
                let known = i32::try_from(found).ok().filter(|number| (1..=6).contains(number));
                kind = TokenKind::from_gguf(known.ok_or_else(|| message.wrong("type", "1 to 6"))?);
            }
            _ => {}
        }
    }
    if text.is_empty() {
        return Err(message.wrong("piece", "a text"));
    }
    if score.is_nan() {
        return Err(message.wrong("score", "a number"));
    }
    if kind == TokenKind::Byte && byte_token(&text).is_none() {
        return Err(message.error(format!("piece: {text:?} is of type BYTE, expected <0xHH>")));
    }
    Ok((text, score, kind))
}

fn read_trainer(mut message: Message<'_>, out: &mut Trainer) -> Result<()> {
    while let Some((number, value)) = message.field()? {
        match number {
            3 => {
                let kind = message.number("model_type", &value)?;
                out.algorithm = match kind {
                    1 => Algorithm::Unigram,
                    2 => Algorithm::Bpe,
                    _ => {
                        let name = ["WORD", "CHAR"].get(usize::try_from(kind.wrapping_sub(3)).unwrap_or(usize::MAX));
                        return Err(TextError::Unsupported {
                            part: "trainer_spec.model_type",
                            found: name.map_or_else(|| kind.to_string(), ToString::to_string),
                            expected: "UNIGRAM or BPE",
                        });
                    }
                };
            }
            24 if message.flag("treat_whitespace_as_suffix", &value)? => {
                return Err(TextError::Unsupported {
                    part: "trainer_spec.treat_whitespace_as_suffix",
                    found: "true".to_owned(),
                    expected: "false",
                });
            }
            35 => out.byte_fallback = message.flag("byte_fallback", &value)?,
            46 => out.bos = message.text("bos_piece", &value)?,
            47 => out.eos = message.text("eos_piece", &value)?,
            48 => out.pad = message.text("pad_piece", &value)?,
            _ => {}
        }
    }
    Ok(())
}

fn read_normalizer(mut message: Message<'_>, out: &mut Normalizer) -> Result<()> {
    while let Some((number, value)) = message.field()? {
        match number {
            2 => {
                let blob = message.bytes_of("precompiled_charsmap", &value)?;
                let wrong = |reason| message.error(format!("precompiled_charsmap: {reason}"));
                out.charsmap = Charsmap::parse(blob).map_err(wrong)?;
            }
            3 => out.add_dummy_prefix = message.flag("add_dummy_prefix", &value)?,
            4 => out.remove_extra_whitespaces = message.flag("remove_extra_whitespaces", &value)?,
            5 => out.escape_whitespaces = message.flag("escape_whitespaces", &value)?,
            _ => {}
        }
    }
    Ok(())
}

/// A map that decoding would have to follow.
fn refuse_denormalizer(mut message: Message<'_>) -> Result<()> {
    while let Some((number, value)) = message.field()? {
        if number == 2 && !message.bytes_of("precompiled_charsmap", &value)?.is_empty() {
            return Err(TextError::Unsupported {
                part: "denormalizer_spec.precompiled_charsmap",
                found: "a map".to_owned(),
                expected: "none",
            });
        }
    }
    Ok(())
}

/// All 256 byte pieces must be there.
fn check_bytes(claims: &[(String, u32, TokenKind)]) -> Result<()> {
    let mut seen = [false; 256];
    for (text, _, kind) in claims {
        if let Some(byte) = byte_token(text).filter(|_| *kind == TokenKind::Byte) {
            seen[usize::from(byte)] = true;
        }
    }
    match seen.iter().position(|seen| !seen) {
        Some(byte) => Err(TextError::malformed(FILE, "pieces", format!("byte_fallback without <0x{byte:02X}>"))),
        None => Ok(()),
    }
}
