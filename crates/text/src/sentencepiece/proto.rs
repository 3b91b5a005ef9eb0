//! Reads `tokenizer.model`, SentencePiece's protocol buffer.
//!
//! Source: `sentencepiece_model.proto`. The messages here have the fields that decide token ids; prost skips all
//! others.

use prost::Message;

use super::{Algorithm, Charsmap, Normalizer, Spec};
use crate::added::Added;
use crate::error::{Result, TextError};
use crate::vocabulary::{TokenKind, Vocabulary, byte_token};

/// The file's name, for error messages.
const FILE: &str = "tokenizer.model";
/// The largest file that is read, in bytes. Published files have at most 10 MB; reading takes up to 20 times the file's
/// size.
const MAX_BYTES: usize = 64 << 20;

/// A model and the ids of the tokens that begin a text, end it and fill a batch.
#[derive(Debug)]
pub(crate) struct ModelFile {
    pub spec: Spec,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub pad: Option<u32>,
}

#[derive(Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<SentencePiece>,
    #[prost(message, optional, tag = "2")]
    trainer_spec: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer_spec: Option<NormalizerSpec>,
    #[prost(message, optional, tag = "5")]
    denormalizer_spec: Option<NormalizerSpec>,
}

#[derive(Message)]
struct SentencePiece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3", default = "1")]
    r#type: Option<i32>,
}

#[derive(Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3", default = "1")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    treat_whitespace_as_suffix: Option<bool>,
    #[prost(bool, optional, tag = "35")]
    byte_fallback: Option<bool>,
    #[prost(string, optional, tag = "46", default = "<s>")]
    bos_piece: Option<String>,
    #[prost(string, optional, tag = "47", default = "</s>")]
    eos_piece: Option<String>,
    #[prost(string, optional, tag = "48", default = "<pad>")]
    pad_piece: Option<String>,
}

#[derive(Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    escape_whitespaces: Option<bool>,
}

/// Reads the file. `added` holds the tokens of the files beside it; tokens that the file lacks are appended to its
/// vocabulary.
///
/// # Errors
/// [`TextError::Malformed`] with the field's name, [`TextError::Unsupported`] for kinds of models that are not read,
/// and the errors of [`Vocabulary::from_claims`].
pub(crate) fn read(bytes: &[u8], added: Vec<Added>) -> Result<ModelFile> {
    let malformed = |place: &str, reason: String| TextError::malformed(FILE, place, reason);
    if bytes.len() > MAX_BYTES {
        return Err(malformed("the file", format!("found {} bytes, expected at most {MAX_BYTES}", bytes.len())));
    }
    let model = ModelProto::decode(bytes).map_err(|e| malformed("the file", e.to_string()))?;
    let trainer = model.trainer_spec.unwrap_or_default();
    let algorithm = algorithm(&trainer)?;
    let normalizer = normalizer(&model.normalizer_spec.unwrap_or_default())?;
    if !model.denormalizer_spec.unwrap_or_default().precompiled_charsmap().is_empty() {
        return Err(TextError::Unsupported {
            part: "denormalizer_spec.precompiled_charsmap",
            found: "a map".to_owned(),
            expected: "none",
        });
    }
    let (mut claims, mut scores) = (Vec::new(), Vec::new());
    for (piece, id) in model.pieces.into_iter().zip(0..) {
        scores.push(piece.score());
        let kind = kind(&piece).map_err(|reason| malformed(&format!("pieces[{id}]"), reason))?;
        claims.push((piece.piece.unwrap_or_default(), id, kind));
    }
    let unk = unknown(&claims)?;
    if trainer.byte_fallback() {
        check_bytes(&claims)?;
    }
    let vocabulary = with_added(claims, &added)?;
    let role = |text: &str| {
        let id = vocabulary.id_of(text)?;
        vocabulary.get(id).is_some_and(|token| token.kind == TokenKind::Control).then_some(id)
    };
    Ok(ModelFile {
        bos: role(trainer.bos_piece()),
        eos: role(trainer.eos_piece()),
        pad: role(trainer.pad_piece()),
        spec: Spec {
            scores,
            algorithm,
            unk,
            byte_fallback: trainer.byte_fallback(),
            normalizer,
            added: added_of(&vocabulary, added),
            vocabulary,
        },
    })
}

/// Checks a piece and returns its kind.
fn kind(piece: &SentencePiece) -> std::result::Result<TokenKind, String> {
    if piece.piece().is_empty() {
        return Err("piece: expected a text".to_owned());
    }
    if piece.score().is_nan() {
        return Err("score: expected a number".to_owned());
    }
    if !(1..=6).contains(&piece.r#type()) {
        return Err(format!("type: found {}, expected 1 to 6", piece.r#type()));
    }
    let kind = TokenKind::from_gguf(piece.r#type());
    if kind == TokenKind::Byte && byte_token(piece.piece()).is_none() {
        return Err(format!("piece: found {:?} of type BYTE, expected <0xHH>", piece.piece()));
    }
    Ok(kind)
}

fn algorithm(trainer: &TrainerSpec) -> Result<Algorithm> {
    let unsupported = |part, found: &str, expected| TextError::Unsupported { part, found: found.to_owned(), expected };
    if trainer.treat_whitespace_as_suffix() {
        return Err(unsupported("trainer_spec.treat_whitespace_as_suffix", "true", "false"));
    }
    let found = match trainer.model_type() {
        1 => return Ok(Algorithm::Unigram),
        2 => return Ok(Algorithm::Bpe),
        3 => "WORD",
        4 => "CHAR",
        other => &other.to_string(),
    };
    Err(unsupported("trainer_spec.model_type", found, "UNIGRAM or BPE"))
}

fn normalizer(spec: &NormalizerSpec) -> Result<Normalizer> {
    let charsmap = Charsmap::parse(spec.precompiled_charsmap());
    Ok(Normalizer {
        charsmap: charsmap.map_err(|e| TextError::malformed(FILE, "normalizer_spec.precompiled_charsmap", e))?,
        add_dummy_prefix: spec.add_dummy_prefix(),
        remove_extra_whitespaces: spec.remove_extra_whitespaces(),
        escape_whitespaces: spec.escape_whitespaces(),
    })
}

/// Returns the id of the piece of type UNKNOWN, of which there must be one.
fn unknown(claims: &[(String, u32, TokenKind)]) -> Result<Option<u32>> {
    let mut unknown = claims.iter().filter(|(_, _, kind)| *kind == TokenKind::Unknown);
    match (unknown.next(), unknown.next()) {
        (Some((_, id, _)), None) => Ok(Some(*id)),
        (None, _) => Err(TextError::Missing { field: "tokenizer.model: a piece of type UNKNOWN" }),
        (Some((_, a, _)), Some((_, b, _))) => {
            let reason = format!("pieces[{a}] and pieces[{b}] are both of type UNKNOWN");
            Err(TextError::malformed(FILE, "the file", reason))
        }
    }
}

/// Adds the added tokens that are not pieces.
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

/// Returns the added tokens that are matched as a whole. Special pieces always are, and need no second entry.
fn added_of(vocabulary: &Vocabulary, added: Vec<Added>) -> Vec<Added> {
    let special = |id: u32| vocabulary.get(id).is_some_and(|token| token.kind.is_special());
    added
        .into_iter()
        .filter(|token| !token.content.is_empty())
        .map(|token| Added { special: token.special || special(token.id), ..token })
        .collect()
}

/// Checks that all 256 byte pieces exist.
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
