//! Parsing: source to syntax tree.

pub(crate) mod ast;
mod expressions;
mod lexer;
mod parser;

pub(crate) use parser::parse;
