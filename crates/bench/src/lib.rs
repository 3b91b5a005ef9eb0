//! Load, prefill, decode, first token and memory.
