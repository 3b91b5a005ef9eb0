//! The library as a whole.

mod evaluation;
mod examples;
mod instruction_sets;
mod session;
mod support;
