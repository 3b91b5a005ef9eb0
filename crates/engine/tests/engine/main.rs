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
mod instruction_sets;
#[path = "../../../grammar/tests/grammar/judge.rs"]
mod judge;
mod likelihood;
mod loss;
mod pocket;
mod resumed;
#[path = "../../../model/tests/model/rounded.rs"]
mod rounded;
mod schedule;
mod speculation;
