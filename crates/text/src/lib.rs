//! Tokenizers and chat templates.
//!
//! A [`Tokenizer`] comes from a Hugging Face folder ([`Tokenizer::from_dir`], [`Tokenizer::from_files`],
//! [`Tokenizer::from_json`]) or from GGUF metadata ([`Tokenizer::from_gguf`], [`Tokenizer::from_vocab`]) and goes back
//! to either ([`Tokenizer::to_gguf_vocab`], [`Tokenizer::to_tokenizer_json`]). Two families are read: byte-level BPE
//! and SentencePiece BPE with byte fallback; anything else is refused by name.
//!
//! A [`ChatTemplate`] renders a conversation as the model's published Jinja template says, within bounds on work,
//! output and depth, because templates come with model files and are not trusted.
//!
//! Token ids are `u32`; texts are UTF-8; a token's bytes need not be.

#![forbid(unsafe_code)]

mod alphabet;
mod config;
mod decode;
mod error;
mod files;
mod gguf;
mod gguf_export;
mod hf_export;
mod json;
mod model;
mod sentencepiece;
mod split;
mod stop;
mod template;
mod tokenizer;
mod vocabulary;

pub use config::SpecialTokens;
pub use decode::DecodeStream;
pub use error::{Result, TextError};
pub use files::TokenizerFiles;
pub use gguf::GgufVocab;
pub use stop::stop_ids;
pub use template::{ChatTemplate, Clock, Limits, Message, Piece, Reasoning, ReasoningStream, RenderOptions};
pub use tokenizer::{EncodeOptions, NamedTemplate, Tokenizer};
pub use vocabulary::{Family, TokenKind};
