//! The parts of a tokenizer, independent of the file format, and the objects of the `tokenizers` crate.

use serde_json::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{
    AddedToken, DecoderWrapper, Model as _, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerImpl,
};

use crate::added::Added;
use crate::error::{Result, TextError};
use crate::vocabulary::{TokenKind, Vocabulary};
use crate::wordpiece::WordPieceSettings;

/// The pipeline of the `tokenizers` crate, which serialises as a tokenizer.json.
pub(crate) type Encoder =
    TokenizerImpl<ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// All properties that determine the ids of a text.
pub(crate) struct Parts {
    /// All tokens, including the added ones.
    pub vocabulary: Vocabulary,
    /// The tokens that the model itself contains. `None` means all.
    pub model_ids: Option<Vec<u32>>,
    /// The settings of a WordPiece model; `None` for BPE.
    pub words: Option<WordPieceSettings>,
    /// The merge rules in rank order, as pairs of ids.
    pub merges: Vec<(u32, u32)>,
    /// `true` if a piece that is a token is used without merging.
    pub ignore_merges: bool,
    /// `true` if characters outside the vocabulary become `<0xHH>` tokens.
    pub byte_fallback: bool,
    /// `true` if a run of unknown characters becomes one unknown token.
    pub fuse_unk: bool,
    /// The unknown token.
    pub unk: Option<u32>,
    /// The tokens that are matched before anything else.
    pub added: Vec<Added>,
    /// tokenizer.json's `normalizer`.
    pub normalizer: Value,
    /// tokenizer.json's `pre_tokenizer`.
    pub pre_tokenizer: Value,
    /// tokenizer.json's `post_processor`.
    pub post_processor: Value,
    /// tokenizer.json's `decoder`.
    pub decoder: Value,
}

impl Parts {
    /// Returns the text of a token whose id has been checked.
    pub(crate) fn text(&self, id: u32) -> &str {
        self.vocabulary.get(id).map_or("", |t| t.text.as_str())
    }

    /// Returns the ids of the tokens that the model itself contains.
    pub(crate) fn ids(&self) -> Vec<u32> {
        match &self.model_ids {
            Some(ids) => ids.clone(),
            None => self.vocabulary.iter().map(|(id, _)| id).collect(),
        }
    }

    /// Returns the tokens that the model itself contains.
    fn vocab(&self) -> Vocab {
        self.ids().into_iter().map(|id| (self.text(id).to_owned(), id)).collect()
    }

    /// Builds the BPE model with the given `ignore_merges`.
    pub(crate) fn bpe(&self, ignore_merges: bool) -> Result<BPE> {
        let merges = self.merges.iter().map(|&(a, b)| (self.text(a).to_owned(), self.text(b).to_owned())).collect();
        let mut builder = BPE::builder()
            .vocab_and_merges(self.vocab(), merges)
            .ignore_merges(ignore_merges)
            .byte_fallback(self.byte_fallback)
            .fuse_unk(self.fuse_unk);
        if let Some(unk) = self.unk {
            builder = builder.unk_token(self.text(unk).to_owned());
        }
        builder.build().map_err(|e| TextError::json("tokenizer model", e))
    }

    /// Builds the model, for serialising.
    fn library_model(&self) -> Result<ModelWrapper> {
        let Some(words) = &self.words else { return Ok(self.bpe(self.ignore_merges)?.into()) };
        let model = WordPiece::builder()
            .vocab(self.vocab())
            .unk_token(self.unk.map_or_else(String::new, |unk| self.text(unk).to_owned()))
            .continuing_subword_prefix(words.prefix.clone())
            .max_input_chars_per_word(words.most_chars)
            .build();
        Ok(model.map_err(|e| TextError::json("tokenizer model", e))?.into())
    }

    /// Returns `true` if merging turns the text of every token into that token, so that `ignore_merges` makes no
    /// difference.
    ///
    /// # Errors
    /// The errors of building the model.
    pub(crate) fn merging_reaches_every_token(&self) -> Result<bool> {
        let model = self.bpe(false)?;
        Ok(self.vocabulary.iter().filter(|(_, token)| token.kind == TokenKind::Normal).all(|(id, token)| {
            model.tokenize(&token.text).is_ok_and(|pieces| matches!(pieces.as_slice(), [one] if one.id == id))
        }))
    }

    /// Builds the object of the `tokenizers` crate, for serialising.
    ///
    /// # Errors
    /// [`TextError::Json`] if the crate refuses a part, for example an invalid expression.
    pub(crate) fn encoder(&self) -> Result<Encoder> {
        let mut encoder = Encoder::new(self.library_model()?);
        encoder
            .with_normalizer(part::<NormalizerWrapper>("normalizer", &self.normalizer)?)
            .map_err(|e| TextError::json("tokenizer normalizer", e))?
            .with_pre_tokenizer(part::<PreTokenizerWrapper>("pre_tokenizer", &self.pre_tokenizer)?)
            .with_post_processor(part::<PostProcessorWrapper>("post_processor", &self.post_processor)?)
            .with_decoder(part::<DecoderWrapper>("decoder", &self.decoder)?);
        let added = self.added.iter().cloned().map(Into::<AddedToken>::into);
        encoder.add_tokens(added).map_err(|e| TextError::json("tokenizer added_tokens", e))?;
        Ok(encoder)
    }
}

/// Reads a part of a pipeline. `null` is `None`.
fn part<T: serde::de::DeserializeOwned>(name: &'static str, value: &Value) -> Result<Option<T>> {
    if value.is_null() {
        return Ok(None);
    }
    serde_json::from_value(value.clone())
        .map(Some)
        .map_err(|e| TextError::json("tokenizer.json", format!("{name}: {e}")))
}
