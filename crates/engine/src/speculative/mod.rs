//! Speculative decoding: several tokens of an answer in one step (Leviathan et al. 2023, "Fast Inference from Transformers via
//! Speculative Decoding").
//!
//! A proposer writes a [`Draft`], a tree of tokens that may follow. A step computes all of them, and the answer draws from the
//! outputs as it would without a draft: from those of its last token, then from those of the drafted token that it drew, as
//! long as there is one. Draws are keyed by seed and position, so on a batch-invariant device the text has the same tokens. The
//! [`policy`] decides from measured costs and observed acceptance which tokens are worth a row.

mod bridge;
mod chances;
mod costs;
mod counts;
mod draft;
mod mode;
mod ngram;
mod policy;
mod proposer;
#[cfg(test)]
mod simulation;
mod tree;

use std::collections::BTreeMap;
use std::rc::Rc;

use honelm_backend::Sampling;
use honelm_model::{ModelError, Runner};
use honelm_text::Tokenizer;

use bridge::Bridge;
use chances::Chances;
use costs::StepCosts;
pub use counts::{Acceptance, SpeculationCounts};
pub(crate) use draft::{DraftModel, is_shortage};
pub use mode::Speculate;
use ngram::Ngrams;
use policy::{Candidate, Policy};
use proposer::{Judge, Proposer};
use tree::Class;
pub(crate) use tree::{ANY, Draft};

use crate::{AnswerId, Clock, EngineError};

/// The smallest context of a draft model.
const LEAST_CONTEXT: usize = 16;
/// The number of nodes by which proposals from the text and of a draft model are compared.
const COMPARED: usize = 4;

/// An answer that wants a draft.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub id: AnswerId,
    pub how: Speculate,
    /// The prompt and the answer, including tokens that a shift dropped.
    pub history: &'a [u32],
    /// The tokens of the sequence, including the newest one, which is not computed.
    pub tokens: &'a [u32],
    /// The largest depth of a draft.
    pub most: usize,
    /// The largest number of tokens that the answer still gets.
    pub left: usize,
    pub sampling: Sampling,
}

/// The knowledge about one answer.
#[derive(Default)]
struct State {
    chances: Chances,
    /// The drafts of this step, before the policy removed nodes. The tokens that are drawn tell whether they were right,
    /// also if they are not verified.
    offered: Vec<Draft>,
}

/// Nodes with the probability that each is reached and accepted.
#[derive(Default)]
struct Offer {
    draft: Draft,
    chances: Vec<f64>,
}

impl Offer {
    /// Adds a draft whose nodes have these probabilities.
    fn merge(&mut self, draft: &Draft, chances: &[f64]) {
        let mut places: Vec<usize> = Vec::with_capacity(draft.len());
        for (node, &chance) in draft.nodes().iter().zip(chances) {
            let place = self.draft.add(node.parent.map(|parent| places[parent]), node.token, node.class);
            places.push(place);
            match self.chances.get_mut(place) {
                // Two sources propose the same token. It stays below the chance of its parent.
                Some(own) => *own = own.max(chance),
                None => self.chances.push(chance),
            }
        }
    }
}

/// The proposers and the policy of a driver.
pub(crate) struct Speculation {
    pub default: Speculate,
    vocabulary: usize,
    /// `true` if a step with drafts has the bits of a step without.
    is_exact: bool,
    ngrams: Ngrams,
    model: Option<DraftModel>,
    failure: Option<ModelError>,
    policy: Policy,
    all: Chances,
    answers: BTreeMap<AnswerId, State>,
    /// The number of answers of the step that is being verified.
    writing: usize,
    counts: SpeculationCounts,
}

impl Speculation {
    /// Creates the proposers for a model of this vocabulary.
    pub fn new(default: Speculate, vocabulary: usize, is_exact: bool) -> Self {
        Self {
            default,
            vocabulary,
            is_exact,
            ngrams: Ngrams::default(),
            model: None,
            failure: None,
            policy: Policy::default(),
            all: Chances::default(),
            answers: BTreeMap::new(),
            writing: 1,
            counts: SpeculationCounts::default(),
        }
    }

    /// Sets the draft model. `own` is the model's tokenizer.
    pub fn set_model(
        &mut self,
        runner: Box<dyn Runner>,
        draft: Rc<Tokenizer>,
        own: &Rc<Tokenizer>,
    ) -> Result<(), EngineError> {
        let facts = runner.facts();
        let invalid = |problem| Err(EngineError::InvalidDraft { name: facts.name.clone(), problem });
        if runner.context() < LEAST_CONTEXT {
            return invalid(format!(
                "found a context of {} tokens, expected at least {LEAST_CONTEXT}",
                runner.context()
            ));
        }
        let is_same = Rc::ptr_eq(own, &draft) || bridge::is_same(own, &draft);
        if !is_same && draft.vocab_size() > facts.vocabulary {
            let (found, expected) = (draft.vocab_size(), facts.vocabulary);
            return invalid(format!("found a tokenizer of {found} tokens, expected at most the model's {expected}"));
        }
        let bridge = (!is_same).then(|| Bridge { own: Rc::clone(own), draft });
        self.model = Some(DraftModel::new(runner, bridge));
        self.failure = None;
        Ok(())
    }

    /// Returns the draft model.
    pub fn model(&self) -> Option<&DraftModel> {
        self.model.as_ref()
    }

    /// Returns the draft model.
    pub fn model_mut(&mut self) -> Option<&mut DraftModel> {
        self.model.as_mut()
    }

    /// Returns the error that ended the use of the draft model.
    pub fn failure(&self) -> Option<&ModelError> {
        self.failure.as_ref()
    }

    pub fn counts(&self) -> &SpeculationCounts {
        &self.counts
    }

    /// Checks the setting of a request.
    pub fn check(&self, how: Speculate) -> Result<(), EngineError> {
        if how == Speculate::Draft && self.model.is_none() && self.failure.is_none() {
            let (name, found) = ("speculate", how.name().to_owned());
            return Err(EngineError::InvalidSetting { name, found, expected: "a driver with a draft model" });
        }
        Ok(())
    }

    fn uses_text(&self, how: Speculate) -> bool {
        how == Speculate::Ngram || (how == Speculate::Auto && self.is_exact)
    }

    fn uses_model(&self, how: Speculate) -> bool {
        self.model.is_some() && matches!(how, Speculate::Draft | Speculate::Auto)
    }

    /// Returns `true` if answers with this setting can get drafts.
    pub fn serves(&self, how: Speculate) -> bool {
        self.uses_text(how) || self.uses_model(how)
    }

    /// Returns the drafts that are worth their rows, `room` of them at most, for some of `answers` answers that are being
    /// written.
    pub async fn propose(
        &mut self,
        asks: &[Ask<'_>],
        answers: usize,
        room: usize,
        clock: Clock<'_>,
    ) -> Vec<(AnswerId, Draft)> {
        self.answers.values_mut().for_each(|state| state.offered.clear());
        let mut offers: Vec<Offer> = asks.iter().map(|_| Offer::default()).collect();
        self.propose_from_text(asks, answers, clock, &mut offers).await;
        let begin = clock();
        let is_drafted = self.propose_by_model(asks, answers, clock, &mut offers).await;
        let spent = if is_drafted { (clock() - begin).max(0.0) } else { 0.0 };
        let mut nodes: Vec<(f64, usize, usize)> = Vec::new();
        for (ask, offer) in offers.iter().enumerate() {
            nodes.extend(offer.chances.iter().enumerate().map(|(node, &chance)| (chance, ask, node)));
        }
        // Parents come before their children: they are likelier, or as likely and earlier.
        nodes.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        nodes.truncate(room);
        let chances: Vec<f64> = nodes.iter().map(|(chance, ..)| *chance).collect();
        let mut size = self.policy.nodes(answers, &chances, spent).size;
        if size == 0 && !is_drafted {
            size = self.policy.retry(answers, &chances);
        }
        self.writing = answers.max(1);
        if is_drafted {
            let is_models = |ask: usize, node: usize| offers[ask].draft.nodes()[node].class.is_models();
            let verified = nodes[..size].iter().filter(|&&(_, ask, node)| is_models(ask, node)).count();
            self.policy.drafted(self.writing, spent, verified);
        }
        let mut kept: Vec<Vec<bool>> = offers.iter().map(|offer| vec![false; offer.draft.len()]).collect();
        nodes[..size].iter().for_each(|&(_, ask, node)| kept[ask][node] = true);
        let chosen = asks.iter().zip(offers).zip(kept).map(|((ask, mut offer), kept)| {
            offer.draft.retain(|i, _| kept[i]);
            (ask.id, offer.draft)
        });
        chosen.filter(|(_, draft)| !draft.is_empty()).collect()
    }

    async fn propose_from_text(&mut self, asks: &[Ask<'_>], answers: usize, clock: Clock<'_>, offers: &mut [Offer]) {
        let chosen: Vec<usize> = (0..asks.len()).filter(|&i| self.uses_text(asks[i].how)).collect();
        if chosen.is_empty() {
            return;
        }
        let some: Vec<Ask<'_>> = chosen.iter().map(|&i| asks[i]).collect();
        let chance = |_: usize, _: Class| 1.0;
        let judge = Judge { policy: &self.policy, depth: ngram::DEEPEST, accept: &[], chance: &chance, answers, clock };
        // The text alone cannot fail.
        let drafts = self.ngrams.propose(&some, &judge).await.unwrap_or_default();
        for (&i, draft) in chosen.iter().zip(drafts) {
            let draft = draft.fit(self.vocabulary, asks[i].most);
            offer(&self.all, self.answers.entry(asks[i].id).or_default(), draft, &mut offers[i]);
        }
    }

    /// Lets the draft model write where that pays. Returns `true` if it ran.
    async fn propose_by_model(
        &mut self,
        asks: &[Ask<'_>],
        answers: usize,
        clock: Clock<'_>,
        offers: &mut [Offer],
    ) -> bool {
        let Self { model: Some(model), policy, all, answers: states, vocabulary, counts, .. } = self else {
            return false;
        };
        let mut chosen: Vec<usize> = Vec::new();
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut others = (0, 0.0);
        for (i, ask) in asks.iter().enumerate() {
            let accept = all.of_model(&states.entry(ask.id).or_default().chances);
            let from_text: f64 = main_path(&offers[i]).sum();
            let by_model: f64 = (1..=COMPARED).map(|depth| accept.powi(depth as i32)).sum();
            if matches!(ask.how, Speculate::Draft | Speculate::Auto) && from_text < by_model && ask.most > 0 {
                chosen.push(i);
                candidates.push(Candidate { accept, behind: model.behind(ask), left: ask.left, most: ask.most });
            } else {
                others = (others.0 + main_path(&offers[i]).count(), others.1 + from_text);
            }
        }
        if chosen.is_empty() {
            return false;
        }
        let depth = policy.depth(answers, &candidates, others).size;
        if depth == 0 {
            return false;
        }
        let some: Vec<Ask<'_>> = chosen.iter().map(|&i| asks[i]).collect();
        let accept: Vec<f64> = candidates.iter().map(|candidate| candidate.accept).collect();
        let of = |ask: usize, class| states.get(&some[ask].id).map_or(0.0, |state| all.of(&state.chances, class));
        let judge = Judge { policy, depth, accept: &accept, chance: &of, answers, clock };
        let drafts = model.propose(&some, &judge).await;
        for (rows, seconds) in model.measured.drain(..) {
            policy.model_measured(rows, seconds);
            *counts.draft_steps.entry(rows).or_default() += 1;
        }
        match drafts {
            Ok(drafts) => {
                for (&i, draft) in chosen.iter().zip(drafts) {
                    let draft = draft.fit(*vocabulary, asks[i].most);
                    offer(all, states.entry(asks[i].id).or_default(), draft, &mut offers[i]);
                }
            }
            Err(error) => {
                // The answers do not depend on it.
                (self.failure, self.model) = (Some(error), None);
            }
        }
        true
    }

    /// Notes the time of a step that only wrote `answers` answers, one row for each and one for each node.
    pub fn measured(&mut self, answers: usize, rows: usize, seconds: f64) {
        self.policy.measured(answers, rows, seconds);
        *self.counts.steps.entry(rows).or_default() += 1;
    }

    /// Returns the measured seconds of a step with `rows` rows, and of a step of the draft model; `None` before the first one.
    pub fn step_seconds(&self, rows: usize) -> (Option<f64>, Option<f64>) {
        let of = |costs: &StepCosts| costs.is_known().then(|| costs.seconds(rows));
        (of(&self.policy.target), of(&self.policy.model))
    }

    /// Notes the tokens that an answer drew in a step, including an end token, and the draft that the step verified.
    pub fn observe(&mut self, id: AnswerId, verified: &Draft, drawn: &[u32]) {
        self.counts.add(verified, drawn);
        self.policy.accepted(self.writing, verified.accepted(drawn).filter(|node| node.class.is_models()).count());
        let Some(state) = self.answers.get_mut(&id) else { return };
        for draft in state.offered.drain(..) {
            self.all.observe(&draft, drawn);
            state.chances.observe(&draft, drawn);
        }
    }

    /// Frees what is kept for an answer that has ended.
    pub fn forget(&mut self, id: AnswerId) {
        self.answers.remove(&id);
        self.ngrams.forget(id);
        if let Some(model) = &mut self.model {
            model.forget(id);
        }
    }
}

/// Adds a proposer's draft to an offer.
fn offer(all: &Chances, state: &mut State, draft: Draft, offer: &mut Offer) {
    if !draft.is_empty() {
        offer.merge(&draft, &all.paths(&state.chances, &draft));
        state.offered.push(draft);
    }
}

/// Returns the chances of the first nodes of an offer that form a chain.
fn main_path(offer: &Offer) -> impl Iterator<Item = f64> {
    let chain = (0usize..).zip(offer.draft.nodes()).take_while(|(i, node)| node.parent == i.checked_sub(1));
    chain.take(COMPARED).map(|(i, _)| offer.chances[i])
}
