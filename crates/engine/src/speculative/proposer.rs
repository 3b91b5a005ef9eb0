//! The interface of proposers.

use std::future::Future;
use std::pin::Pin;

use honelm_model::ModelError;

use super::Ask;
use super::policy::Policy;
use super::tree::{Class, Draft};
use crate::{AnswerId, Clock};

/// The future of one draft for each ask.
pub(crate) type Proposals<'p> = Pin<Box<dyn Future<Output = Result<Vec<Draft>, ModelError>> + 'p>>;

/// The facts by which a proposer decides to stop.
pub(crate) struct Judge<'j> {
    pub policy: &'j Policy,
    /// The largest depth of the drafts.
    pub depth: usize,
    /// The mean probability, for each ask, that a proposed token is accepted. // `[asks]`
    pub accept: &'j [f64],
    /// The probability that a token of a class is accepted, for the ask with this index.
    pub chance: &'j dyn Fn(usize, Class) -> f64,
    /// The number of answers of the step, including those without an ask.
    pub answers: usize,
    pub clock: Clock<'j>,
}

/// A source of drafts.
pub(crate) trait Proposer {
    /// Proposes tokens that may follow each answer. A draft may be empty or wrong; the verification accepts only the tokens
    /// that the model itself draws.
    fn propose<'p>(&'p mut self, asks: &'p [Ask<'p>], judge: &'p Judge<'p>) -> Proposals<'p>;

    /// Frees what is kept for an answer that has ended.
    fn forget(&mut self, id: AnswerId);
}
