//! Tokenizers and chat templates against other implementations.

mod common;
mod hostile;
mod pocket;
mod pre_tokenizers;
mod properties;
mod sentencepiece;
mod sentencepiece_models;
mod template_sandbox;
mod templates;
mod vectors;
mod vocab_merges;
