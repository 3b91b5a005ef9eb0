//! Proposals of a smaller model (Leviathan et al. 2023; Chen et al. 2023).
//!
//! It draws its tokens with the settings, the positions and therefore the random numbers of the answer. Where the two models
//! agree on the distribution, a sampled draft is thus accepted like a greedy one.

use std::collections::BTreeMap;

use honelm_backend::{BackendError, Batch, SequenceId, Want, choose};
use honelm_model::{CacheUse, ModelError, Runner, StepOutput};

use super::Ask;
use super::bridge::Bridge;
use super::proposer::{Judge, Proposals, Proposer};
use super::tree::{Class, Draft};
use crate::AnswerId;
use crate::prefixes::common;

/// The largest number of rows of a step in which the draft model reads texts, so that other answers need not wait for long.
const READ_ROWS: usize = 512;
/// The smallest probability of a second token.
const LEAST_SECOND: f64 = 0.05;

/// The draft model's sequence of an answer.
struct Held {
    sequence: SequenceId,
    /// The answer's token with which it begins.
    from: usize,
    /// The tokens that it holds.
    tokens: Vec<u32>,
}

/// A draft that is being written.
struct Writing {
    /// The index of its ask.
    ask: usize,
    sequence: SequenceId,
    /// The tokens that follow in the draft model's sequence.
    input: Vec<u32>,
    drafted: Vec<u32>,
    node: Option<usize>,
    /// The probability that the whole path is accepted.
    chance: f64,
    draft: Draft,
    /// The mean probability of the drafted tokens.
    mean: f64,
    is_done: bool,
}

/// The steps of a draft model, for the measurement of its costs.
pub(crate) type Measured = Vec<(usize, f64)>;

/// A draft model and its sequences.
pub(crate) struct DraftModel {
    runner: Box<dyn Runner>,
    /// `None` if the vocabulary is that of the model.
    bridge: Option<Bridge>,
    held: BTreeMap<AnswerId, Held>,
    /// The rows and seconds of the steps since they were last taken.
    pub measured: Measured,
}

/// The two most likely tokens of a row.
struct Likely {
    probability: f64,
    second: (u32, f64),
}

impl DraftModel {
    pub fn new(runner: Box<dyn Runner>, bridge: Option<Bridge>) -> Self {
        Self { runner, bridge, held: BTreeMap::new(), measured: Vec::new() }
    }

    /// Returns the bytes of a sequence of the draft model that covers the whole context.
    pub fn context_bytes(&self) -> usize {
        self.runner.sequence_bytes(self.runner.context())
    }

    /// Returns the use of memory by its sequences.
    pub fn cache_use(&self) -> CacheUse {
        self.runner.cache_use()
    }

    /// Limits the bytes of its sequences.
    pub fn set_limit(&mut self, bytes: usize) {
        self.runner.set_cache_limit(Some(bytes));
    }

    /// Closes all sequences.
    pub fn clear(&mut self) -> Result<(), ModelError> {
        while let Some((_, held)) = self.held.pop_first() {
            self.runner.close(held.sequence)?;
        }
        Ok(())
    }

    /// Returns the number of the answer's tokens that the draft model has not yet seen, at least 1. Another vocabulary makes
    /// this an estimate.
    pub fn behind(&self, ask: &Ask<'_>) -> usize {
        let Some(held) = self.held.get(&ask.id) else { return ask.tokens.len().min(self.runner.context()) };
        if self.bridge.is_some() {
            return 2;
        }
        let seen = ask.tokens.get(held.from..).map_or(0, |tokens| common(&held.tokens, tokens));
        ask.tokens.len().saturating_sub(held.from + seen).max(1)
    }

    /// Prepares the sequence of an answer. Returns it with the tokens that it lacks, at least one; `None` if the answer cannot
    /// be continued by this model.
    fn catch_up(&mut self, ask: &Ask<'_>, depth: usize) -> Result<Option<(SequenceId, Vec<u32>)>, ModelError> {
        let context = self.runner.context();
        let bridged = match &self.bridge {
            Some(bridge) => match bridge.encode(ask.tokens) {
                Some(tokens) => Some(tokens),
                None => return Ok(None),
            },
            None => None,
        };
        let all = bridged.as_deref().unwrap_or(ask.tokens);
        let vocabulary = self.runner.facts().vocabulary;
        if context <= depth + 1 || all.iter().any(|&token| token as usize >= vocabulary) {
            return Ok(None);
        }
        if !self.held.contains_key(&ask.id) {
            let sequence = self.runner.open();
            self.held.insert(ask.id, Held { sequence, from: 0, tokens: Vec::new() });
        }
        let Some(held) = self.held.get_mut(&ask.id) else { return Ok(None) };
        // A text longer than the draft model's context is cut to its newer half.
        let fits = |from: usize| from < all.len() && all.len() - from + depth <= context;
        if !fits(held.from) {
            held.from = if fits(0) { 0 } else { all.len() - (context / 2).clamp(1, context - depth).min(all.len()) };
        }
        let wanted = &all[held.from..];
        let keep = common(&held.tokens, wanted).min(wanted.len() - 1);
        // A step whose future was dropped is in the sequence, and its tokens are in `held`.
        let kept = self.runner.truncate(held.sequence, keep)?.len;
        held.tokens.truncate(kept);
        Ok(Some((held.sequence, wanted[kept..].to_vec())))
    }

    /// Starts drafts for the asks whose text the draft model has seen, and lets it read some of the others.
    fn begin(&mut self, asks: &[Ask<'_>], depth: usize) -> Result<Vec<Writing>, ModelError> {
        let most = READ_ROWS.min(self.runner.step_rows()).max(1);
        let mut rows = 0;
        let mut writing = Vec::new();
        for (i, ask) in asks.iter().enumerate() {
            let depth = depth.min(ask.most);
            if depth == 0 || rows >= most {
                continue;
            }
            let Some((sequence, mut input)) = self.catch_up(ask, depth)? else { continue };
            let is_done = input.len() > most - rows;
            input.truncate(most - rows);
            rows += input.len();
            let draft = Draft::default();
            let (drafted, node, chance, mean) = (Vec::new(), None, 1.0, 1.0);
            writing.push(Writing { ask: i, sequence, input, drafted, node, chance, draft, mean, is_done });
        }
        Ok(writing)
    }

    /// Runs a step for the drafts that go on. If memory is short, closes sequences of other answers first, then gives up the
    /// last drafts.
    async fn step(
        &mut self,
        asks: &[Ask<'_>],
        writing: &mut Vec<Writing>,
        judge: &Judge<'_>,
    ) -> Result<StepOutput, ModelError> {
        let begin = (judge.clock)();
        let (ticket, rows) = loop {
            let mut batch = Batch::default();
            for part in writing.iter().filter(|part| !part.input.is_empty()) {
                batch.extend(part.sequence, &part.input, if part.is_done { Want::NOTHING } else { Want::LOGITS });
            }
            if batch.rows() == 0 {
                return Ok(StepOutput::default());
            }
            match self.runner.step(&batch) {
                Ok(ticket) => break (ticket, batch.rows()),
                Err(error) if !is_shortage(&error) => return Err(error),
                Err(_) => {
                    let is_used = |id: &AnswerId| writing.iter().any(|part| asks[part.ask].id == *id);
                    let unused = self.held.keys().find(|id| !is_used(id)).copied();
                    let id = match unused {
                        Some(id) => id,
                        None => {
                            let Some(part) = writing.pop() else { return Ok(StepOutput::default()) };
                            asks[part.ask].id
                        }
                    };
                    self.close(id)?;
                }
            }
        };
        for part in writing.iter_mut() {
            if let Some(held) = self.held.get_mut(&asks[part.ask].id) {
                held.tokens.append(&mut part.input);
            }
        }
        let output = self.runner.read(ticket).await?;
        self.measured.push((rows, (judge.clock)() - begin));
        Ok(output)
    }

    fn close(&mut self, id: AnswerId) -> Result<(), ModelError> {
        self.held.remove(&id).map_or(Ok(()), |held| self.runner.close(held.sequence))
    }

    /// Writes drafts, all together, token by token.
    async fn write(&mut self, asks: &[Ask<'_>], judge: &Judge<'_>) -> Result<Vec<Draft>, ModelError> {
        let mut writing = self.begin(asks, judge.depth)?;
        let mut nodes = 0;
        for depth in 1..=judge.depth {
            let output = self.step(asks, &mut writing, judge).await?;
            let mut rows = output.logits.iter_rows();
            for part in writing.iter_mut().filter(|part| !part.is_done) {
                let Some(logits) = rows.next() else { break };
                part.extend(&asks[part.ask], logits, judge, self.bridge.is_none());
                part.is_done = part.drafted.len() >= judge.depth.min(asks[part.ask].most);
                nodes += 1;
            }
            if depth == judge.depth {
                break;
            }
            let open: Vec<usize> = (0..writing.len()).filter(|&i| !writing[i].is_done).collect();
            let chances: Vec<f64> = open.iter().map(|&i| writing[i].chance * judge.accept[writing[i].ask]).collect();
            let goes_on = judge.policy.goes_on(&chances, judge.answers, judge.answers + nodes);
            for (&i, goes_on) in open.iter().zip(goes_on) {
                writing[i].is_done = !goes_on;
            }
            for part in writing.iter_mut().filter(|part| part.is_done) {
                part.input.clear();
            }
            if writing.iter().all(|part| part.is_done) {
                break;
            }
        }
        let mut drafts = vec![Draft::default(); asks.len()];
        for part in writing {
            drafts[part.ask] = match &self.bridge {
                None => part.draft,
                Some(bridge) => {
                    let class = Class::of_probability(part.mean, false, asks[part.ask].sampling.temperature <= 0.0);
                    let mut draft = Draft::default();
                    let tokens = bridge.decode(asks[part.ask].tokens, &part.drafted);
                    tokens.into_iter().fold(None, |parent, token| Some(draft.add(parent, token, class)));
                    draft
                }
            };
        }
        Ok(drafts)
    }
}

impl Writing {
    /// Adds the token that follows from the logits of the last row. // `[V]`
    fn extend(&mut self, ask: &Ask<'_>, logits: &[f32], judge: &Judge<'_>, has_same_vocabulary: bool) {
        let position = ask.tokens.len() - 1 + self.drafted.len();
        let token = choose(logits, &ask.sampling, position as u64);
        let is_greedy = ask.sampling.temperature <= 0.0;
        let Likely { probability, second } = likely(logits, token);
        let count = self.drafted.len() as f64;
        self.mean = (self.mean * count + probability) / (count + 1.0);
        let class = Class::of_probability(probability, false, is_greedy);
        self.chance *= (judge.chance)(self.ask, class);
        self.drafted.push(token);
        self.input = vec![token];
        if has_same_vocabulary {
            let parent = self.node;
            self.node = Some(self.draft.add(parent, token, class));
            if second.1 >= LEAST_SECOND {
                self.draft.add(parent, second.0, Class::of_probability(second.1, true, is_greedy));
            }
        }
    }
}

/// Computes the probability of `token` and the most likely token other than it. // `[V]`
fn likely(logits: &[f32], token: u32) -> Likely {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| (logit - max).exp();
    let total: f32 = logits.iter().map(|&logit| weight(logit)).filter(|weight| *weight > 0.0).sum();
    let share = |id: u32| f64::from(logits.get(id as usize).map_or(0.0, |&logit| weight(logit)) / total);
    let others = logits.iter().enumerate().filter(|(id, logit)| *id as u32 != token && !logit.is_nan());
    let second = others.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0))).map_or(token, |(id, _)| id as u32);
    Likely { probability: share(token), second: (second, if second == token { 0.0 } else { share(second) }) }
}

/// Returns `true` if a step was refused for lack of memory. It has then changed nothing.
pub(crate) fn is_shortage(error: &ModelError) -> bool {
    matches!(error, ModelError::Backend(BackendError::CacheFull { .. } | BackendError::OutOfMemory { .. }))
}

impl Proposer for DraftModel {
    fn propose<'p>(&'p mut self, asks: &'p [Ask<'p>], judge: &'p Judge<'p>) -> Proposals<'p> {
        Box::pin(self.write(asks, judge))
    }

    fn forget(&mut self, id: AnswerId) {
        // An unknown sequence is closed already.
        drop(self.close(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_softmax() {
        let logits = [1f32, 4.0, 2.0, 1.0].map(f32::ln);
        let found = likely(&logits, 1);
        assert!((found.probability - 0.5).abs() < 1e-6 && found.second.0 == 2 && (found.second.1 - 0.25).abs() < 1e-6);
        assert_eq!(likely(&logits, 0).second.0, 1);
        let broken = likely(&[f32::NAN; 3], 0);
        let none = broken.probability.is_nan() || broken.probability <= 0.0;
        assert!(none && broken.second.0 == 0, "{}", broken.probability);
    }
}
