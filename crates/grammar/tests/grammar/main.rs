//! Grammars: masks, walks over them, tool calls, and hostile input.

mod calls;
mod closing;
mod common;
mod errors;
mod judge;
mod matching;
mod walks;
