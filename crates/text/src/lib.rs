#![doc = include_str!("../README.md")]
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
mod wordpiece;

pub use budget::Budget;
pub use config::{NamedTemplate, SpecialTokens};
pub use decode::DecodeStream;
pub use error::{Result, TextError};
pub use files::{TokenizerFiles, TokenizerSource};
pub use gguf::GgufVocab;
pub use stop::stop_ids;
pub use template::{ChatTemplate, Clock, Limits, Message, Reasoning, RenderOptions, Rendered};
pub use tokenizer::{EncodeOptions, Tokenizer};
pub use vocabulary::{Family, TokenKind};
