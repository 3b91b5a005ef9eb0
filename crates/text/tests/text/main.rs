//! Tokenizers and chat templates against other implementations.

mod answer;
mod authority;
mod calls;
mod common;
mod hostile;
mod pocket;
mod pre_tokenizers;
mod properties;
mod sentencepiece;
mod sentencepiece_models;
mod template_marks;
mod templates;
mod tokenizer_fidelity;
mod tokenizer_marks;
mod vectors;
mod vocab_merges;
mod wordpiece;
