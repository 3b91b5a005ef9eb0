//! Export of a tokenizer as GGUF metadata.

use crate::added::Added;
use crate::config::Unnamed;
use crate::error::{Result, TextError};
use crate::fidelity::Samples;
use crate::gguf::{BYTE_LEVEL, GEMMA4, GgufVocab, SENTENCE_PIECE, UNIGRAM, WORD_PIECE, is_bracketed};
use crate::model::Parts;
use crate::pipeline::PipelineKey;
use crate::scores;
use crate::sentencepiece::{Algorithm, SentencePiece};
use crate::split::{self, PreTokenizer};
use crate::stop::END_TEXTS;
use crate::tokenizer::{Engine, Tokenizer};
use crate::vocabulary::{Family, SPACE, TokenKind, pad_text};
use crate::wordpiece::WordPieceSettings;

/// The score of an unused row. Nothing merges into it.
const PAD_SCORE: f32 = -10_000.0;

impl Tokenizer {
    /// Converts the tokenizer to GGUF metadata, padded with unused tokens to `rows`, the rows of the embedding.
    ///
    /// Every end token is written: the model's own as EOS, a turn's end as EOT, and another as EOM unless its text
    /// identifies it. Properties without a GGUF key are written under HoneLM's keys: the matching rules of added
    /// tokens, and steps that no pre-tokenizer's name describes. [`Tokenizer::from_vocab`] reads these keys; other
    /// programs ignore them. The result is read back and compared with this tokenizer on sample texts.
    ///
    /// # Errors
    /// [`TextError::UnknownSplit`], [`TextError::NotScoreOrdered`], [`TextError::VocabularyTooLong`], or
    /// [`TextError::Unsupported`] if GGUF cannot express the tokenizer. [`TextError::LossyVocab`] if a sample text gets
    /// different tokens, or tokens a different text.
    pub fn to_gguf_vocab(&self, rows: usize) -> Result<GgufVocab> {
        match self.to_lossy_gguf_vocab(rows)? {
            (vocab, None) => Ok(vocab),
            (_, Some(loss)) => Err(loss),
        }
    }

    /// Converts the tokenizer as [`Tokenizer::to_gguf_vocab`] does, but returns the first difference together with the
    /// metadata.
    ///
    /// # Errors
    /// The errors of [`Tokenizer::to_gguf_vocab`] except [`TextError::LossyVocab`].
    pub fn to_lossy_gguf_vocab(&self, rows: usize) -> Result<(GgufVocab, Option<TextError>)> {
        let mut vocab = self.stock_vocab(rows)?;
        let texts = Samples::of(self);
        let json = |error| TextError::json("GGUF metadata", error);
        let stock = Self::from_vocab(&vocab)?;
        if stock.matched_tokens() != self.matched_tokens() {
            vocab.added_tokens = Some(serde_json::to_string(&self.added_tokens()).map_err(json)?);
        }
        let Engine::Pipeline(pipeline) = &self.engine else {
            let read = if vocab.added_tokens.is_some() { Self::from_vocab(&vocab)? } else { stock };
            return Ok((vocab, texts.difference(self, &read)));
        };
        let read = if vocab.added_tokens.is_some() { Self::from_vocab(&vocab)? } else { stock };
        if read.decoder == self.decoder && !metaspace(&pipeline.parts) && texts.difference(self, &read).is_none() {
            return Ok((vocab, None));
        }
        vocab.added_tokens = Some(serde_json::to_string(&self.added_tokens()).map_err(json)?);
        vocab.pipeline = Some(serde_json::to_string(&PipelineKey::of(&pipeline.parts)).map_err(json)?);
        let read = Self::from_vocab(&vocab)?;
        Ok((vocab, texts.difference(self, &read)))
    }

    /// Returns the added tokens and their matching rules.
    pub(crate) fn added_tokens(&self) -> Vec<Added> {
        match &self.engine {
            Engine::Pipeline(pipeline) => pipeline.parts.added.clone(),
            Engine::SentencePiece(pieces) => pieces.matched_tokens().to_vec(),
        }
    }

    /// Returns the tokens that are matched as a whole, in order, with the rules that matter. Matching in the normalised
    /// text matters only if normalisation changes the token.
    fn matched_tokens(&self) -> Vec<Added> {
        let mut added = self.added_tokens();
        let normalizes = match &self.engine {
            Engine::Pipeline(pipeline) => !pipeline.parts.normalizer.is_null(),
            Engine::SentencePiece(_) => false,
        };
        added.iter_mut().for_each(|token| token.normalized &= normalizes);
        added.sort_by_key(|token| token.id);
        added
    }

    /// Returns the metadata with the keys of llama.cpp only.
    fn stock_vocab(&self, rows: usize) -> Result<GgufVocab> {
        let size = self.vocab_size();
        if size > rows {
            return Err(TextError::VocabularyTooLong { found: size, rows });
        }
        let (mut tokens, mut token_types): (Vec<String>, Vec<i32>) =
            self.vocabulary().iter().map(|(_, token)| (token.text.clone(), token.kind as i32)).unzip();
        tokens.extend((size..rows).map(pad_text));
        token_types.resize(rows, TokenKind::Unused as i32);

        let mut vocab = GgufVocab { tokens, token_types, ..GgufVocab::default() };
        match &self.engine {
            Engine::Pipeline(pipeline) => {
                let parts = &pipeline.parts;
                if parts.words.is_some() {
                    write_words(parts, &mut vocab)?;
                    self.write_roles(&mut vocab, rows)?;
                    return Ok(vocab);
                }
                match (self.family(), split::by_json(&parts.pre_tokenizer, &parts.normalizer)) {
                    (Family::ByteLevel, rows) => write_merges(parts, &rows?, &mut vocab)?,
                    (_, Ok(rows)) => write_merges(parts, &rows, &mut vocab)?,
                    (_, Err(_)) => write_scores_of_merges(parts, &mut vocab, rows)?,
                }
            }
            Engine::SentencePiece(pieces) => write_pieces(pieces, &mut vocab, rows)?,
        }
        self.write_roles(&mut vocab, rows)?;
        vocab.chat_template = self.chat_template().map(str::to_owned);
        let others = self.chat_templates().iter().filter(|other| Some(other.source.as_str()) != self.chat_template());
        vocab.named_templates = others.cloned().collect();
        Ok(vocab)
    }

    fn write_roles(&self, vocab: &mut GgufVocab, rows: usize) -> Result<()> {
        let roles = &self.roles;
        let mut stop = roles.stop.clone();
        if let Some(&id) = stop.iter().find(|&&id| id as usize >= rows) {
            return Err(TextError::IdOutOfRange { field: "eos_token_id".to_owned(), id: id.into(), len: rows });
        }
        vocab.bos = roles.bos;
        vocab.unk = roles.unk;
        vocab.pad = roles.pad;
        vocab.unnamed = Unnamed {
            bos: roles.unnamed.bos && roles.bos.is_some(),
            eos: roles.unnamed.eos && !stop.is_empty(),
            unk: roles.unnamed.unk && roles.unk.is_some(),
            pad: roles.unnamed.pad && roles.pad.is_some(),
        }
        .names();
        vocab.eos = (!stop.is_empty()).then(|| stop.remove(0));
        let mut take = |wanted: &dyn Fn(u32) -> bool| stop.iter().position(|&id| wanted(id)).map(|at| stop.remove(at));
        if roles.turn_end.is_none() || roles.turn_end != vocab.eos {
            vocab.eot = take(&|id| Some(id) == roles.turn_end).or_else(|| take(&|_| true));
        }
        let known = |id: u32| {
            self.kind(id) == Some(TokenKind::Control) && self.token(id).is_some_and(|text| END_TEXTS.contains(&text))
        };
        vocab.eom = take(&|id| self.token(id) == Some("<|eom_id|>")).or_else(|| take(&|id| !known(id)));
        vocab.eog = stop;

        if vocab.model == WORD_PIECE {
            (vocab.cls, vocab.sep) = match (&self.prefix[..], &self.suffix[..]) {
                (&[cls], &[sep]) => (Some(cls), Some(sep)),
                _ => {
                    return Err(TextError::Unsupported {
                        part: "post_processor",
                        found: format!("tokens {:?} before a text and {:?} after it", self.prefix, self.suffix),
                        expected: "one before it and one after it",
                    });
                }
            };
            return Ok(());
        }
        let affix = |affix: &[u32], token: Option<u32>, field: &'static str| match affix {
            [] => Ok(false),
            [one] if Some(*one) == token => Ok(true),
            other => Err(TextError::Unsupported {
                part: "post_processor",
                found: format!("tokens {other:?} around a text"),
                expected: field,
            }),
        };
        vocab.add_bos = Some(affix(&self.prefix, vocab.bos, "BOS before it, or nothing")?);
        let end = self.suffix.first().copied().filter(|id| roles.stop.contains(id));
        if end.is_some() && end != vocab.eos {
            // llama.cpp adds EOS itself, so the suffix must be EOS.
            std::mem::swap(&mut vocab.eos, &mut vocab.eot);
        }
        vocab.add_eos = Some(affix(&self.suffix, vocab.eos, "EOS after it, or nothing")?);
        Ok(())
    }
}

/// Returns `true` if a `Metaspace` step makes spaces visible. It checks the text before it prepends a space, unlike
/// GGUF's readers.
fn metaspace(parts: &Parts) -> bool {
    let scheme = parts.pre_tokenizer["prepend_scheme"].as_str();
    parts.pre_tokenizer["type"] == "Metaspace" && scheme != Some("never")
}

/// Writes WordPiece's tokens as llama.cpp does: with a visible space at the start of a word, and without a prefix inside.
fn write_words(parts: &Parts, vocab: &mut GgufVocab) -> Result<()> {
    let settings = parts.words.clone().unwrap_or_default();
    if settings != WordPieceSettings::default() {
        let found = format!("WordPiece with {settings:?}");
        return Err(TextError::Unsupported {
            part: "model",
            found,
            expected: "the prefix ## and words of 100 characters",
        });
    }
    vocab.model = WORD_PIECE.to_owned();
    for text in vocab.tokens.iter_mut().filter(|text| !is_bracketed(text)) {
        *text = text.strip_prefix("##").map_or_else(|| format!("{SPACE}{text}"), str::to_owned);
    }
    Ok(())
}

/// Writes merge rules under the name of their pre-tokenizer.
fn write_merges(parts: &Parts, rows: &[&PreTokenizer], vocab: &mut GgufVocab) -> Result<()> {
    let mut chosen = rows.iter().find(|row| row.ignore_merges == parts.ignore_merges);
    // The first row has the best-known name. It can be used if `ignore_merges` makes no difference.
    if let Some(first) = rows.first().filter(|first| first.ignore_merges != parts.ignore_merges)
        && parts.merging_reaches_every_token()?
    {
        chosen = Some(first);
    }
    let row = chosen.ok_or_else(|| TextError::Unsupported {
        part: "model",
        found: format!("BPE with ignore_merges = {}", parts.ignore_merges),
        expected: "the behaviour of GGUF's pre-tokenizer of that expression",
    })?;
    let merges = parts.merges.iter().map(|&(a, b)| format!("{} {}", parts.text(a), parts.text(b)));
    vocab.model = if row.visible_spaces { GEMMA4 } else { BYTE_LEVEL }.to_owned();
    vocab.pre = row.names.first().map(|&name| name.to_owned());
    vocab.merges = Some(merges.collect());
    Ok(())
}

/// Writes merge rules as equivalent scores.
fn write_scores_of_merges(parts: &Parts, vocab: &mut GgufVocab, rows: usize) -> Result<()> {
    let prefix = scores::add_space_prefix(&parts.normalizer, &parts.pre_tokenizer).ok_or_else(|| {
        TextError::UnknownSplit { expression: format!("{} after {}", parts.pre_tokenizer, parts.normalizer) }
    })?;
    if parts.ignore_merges && !parts.merging_reaches_every_token()? {
        return Err(TextError::Unsupported {
            part: "model",
            found: "SentencePiece BPE with ignore_merges".to_owned(),
            expected: "merging by score",
        });
    }
    write_scored(vocab, SENTENCE_PIECE, scores::scores_from_merges(&parts.vocabulary, &parts.merges)?, rows);
    vocab.add_space_prefix = Some(prefix);
    Ok(())
}

/// Writes SentencePiece's scores.
fn write_pieces(pieces: &SentencePiece, vocab: &mut GgufVocab, rows: usize) -> Result<()> {
    let normalizer = &pieces.normalizer;
    let unigram = pieces.algorithm() == Algorithm::Unigram;
    let refused = |found: &str| {
        Err(TextError::Unsupported {
            part: "normalizer",
            found: found.to_owned(),
            expected: "the behaviour of GGUF readers for this kind of model",
        })
    };
    if !normalizer.escape_whitespaces {
        return refused("escape_whitespaces = false");
    }
    if !unigram && normalizer.remove_extra_whitespaces {
        return refused("BPE with remove_extra_whitespaces");
    }
    if !unigram && normalizer.charsmap.is_some() {
        return refused("BPE with a precompiled_charsmap");
    }
    let model = if unigram { UNIGRAM } else { SENTENCE_PIECE };
    write_scored(vocab, model, pieces.scores().to_vec(), rows);
    vocab.add_space_prefix = Some(normalizer.add_dummy_prefix);
    if unigram {
        vocab.remove_extra_whitespaces = Some(normalizer.remove_extra_whitespaces);
        vocab.precompiled_charsmap = normalizer.charsmap.as_ref().map(|map| map.blob().to_vec());
    }
    Ok(())
}

/// Writes the kind of model and the padded scores.
fn write_scored(vocab: &mut GgufVocab, model: &str, mut scores: Vec<f32>, rows: usize) {
    scores.resize(rows, PAD_SCORE);
    vocab.model = model.to_owned();
    vocab.pre = Some("default".to_owned());
    vocab.scores = Some(scores);
}
