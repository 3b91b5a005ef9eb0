//! Tokenizers and chat templates.
//!
//! A [`Tokenizer`] comes from a Hugging Face folder or a tokenizer's own file ([`Tokenizer::from_dir`],
//! [`Tokenizer::from_files`], [`Tokenizer::from_json`]) or from GGUF metadata ([`Tokenizer::from_gguf`],
//! [`Tokenizer::from_vocab`]) and goes back to either ([`Tokenizer::to_gguf_vocab`], [`Tokenizer::to_tokenizer_json`]).
//! Two families are read, from every file that they come in; anything else is refused by name:
//!
//! | family | files |
//! |---|---|
//! | byte-level BPE | `tokenizer.json`; `vocab.json` with `merges.txt`; tiktoken's lists; GGUF `gpt2` |
//! | SentencePiece BPE and Unigram | `tokenizer.json` (BPE); `tokenizer.model`; GGUF `llama`, `t5`, `gemma4` |
//!
//! A [`ChatTemplate`] renders a conversation as the model's published Jinja template says, within bounds on work,
//! output and depth, because templates come with model files and are not trusted.
//!
//! Token ids are `u32`; texts are UTF-8; a token's bytes need not be.

#![forbid(unsafe_code)]

mod added;
mod alphabet;
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
mod wholes;

pub use budget::Budget;
pub use config::SpecialTokens;
pub use decode::DecodeStream;
pub use error::{Result, TextError};
pub use files::{TokenizerFiles, TokenizerSource};
pub use gguf::GgufVocab;
pub use stop::stop_ids;
pub use template::{ChatTemplate, Clock, Limits, Message, Piece, Reasoning, ReasoningStream, RenderOptions, Rendered};
pub use tokenizer::{EncodeOptions, NamedTemplate, Tokenizer};
pub use vocabulary::{Family, TokenKind};
