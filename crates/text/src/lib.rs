//! Tokenizers and chat templates.
//!
//! A [`Tokenizer`] is read from a Hugging Face folder or a tokenizer's own file ([`Tokenizer::from_dir`],
//! [`Tokenizer::from_files`], [`Tokenizer::from_json`]) or from GGUF metadata ([`Tokenizer::from_gguf`],
//! [`Tokenizer::from_vocab`]), and can be written to both ([`Tokenizer::to_gguf_vocab`],
//! [`Tokenizer::to_tokenizer_json`]). Two families are supported; any other is refused with its name:
//!
//! | family | files |
//! |---|---|
//! | byte-level BPE | `tokenizer.json`; `vocab.json` with `merges.txt`; tiktoken files; GGUF `gpt2` |
//! | SentencePiece BPE and Unigram | `tokenizer.json` (BPE); `tokenizer.model`; GGUF `llama`, `t5`, `gemma4` |
//!
//! A [`ChatTemplate`] formats a conversation with the model's Jinja template. Templates come with model files and are
//! not trusted, so work, output and depth are bounded.
//!
//! Token ids are `u32`. Texts are UTF-8, but the bytes of a single token need not be.

#![forbid(unsafe_code)]

mod added;
mod alphabet;
pub mod answer;
mod budget;
mod config;
mod decode;
mod decoder;
mod error;
mod fidelity;
mod files;
mod gguf;
mod gguf_export;
mod hf_export;
mod json;
mod matcher;
mod model;
mod open;
mod pattern;
mod pipeline;
mod scores;
mod sentencepiece;
mod split;
mod stop;
mod template;
mod tiktoken;
mod tokenizer;
mod trie;
mod vocab_merges;
mod vocabulary;

pub use budget::Budget;
pub use config::{NamedTemplate, SpecialTokens};
pub use decode::DecodeStream;
pub use error::{Result, TextError};
pub use files::{TokenizerFiles, TokenizerSource};
pub use gguf::GgufVocab;
pub use stop::stop_ids;
pub use template::{ChatTemplate, Clock, Limits, Message, Piece, Reasoning, ReasoningStream, RenderOptions, Rendered};
pub use tokenizer::{EncodeOptions, Tokenizer};
pub use vocabulary::{Family, TokenKind};
