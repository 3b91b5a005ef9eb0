//! Generation with a scripted model and with the shipped one.

#[path = "../../../text/tests/text/calls.rs"]
#[expect(dead_code, reason = "the tests of the parsers use more of it")]
mod calls;
mod chat;
mod common;
mod confidence;
mod constrained;
mod driver;
mod embedding;
mod flights;
mod generation;
#[path = "../../../grammar/tests/grammar/judge.rs"]
mod judge;
mod likelihood;
mod loss;
mod pocket;
mod resumed;
mod schedule;
mod speculation;
