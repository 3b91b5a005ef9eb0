//! The likelihoods of given answers to a prompt.
//!
//! The answers form a tree of tokens behind the prompt, as a draft does: those that begin alike share rows, and a step reads
//! up to [`MOST_ROWS`] of them. The prompt is read once, and begins with the tokens that other answers have cached.

use honelm_backend::{BackendError, Batch, SequenceId, Want};
use honelm_text::{EncodeOptions, Message};

use crate::answer::{Answer, Next, Outputs};
use crate::sampling::log_total;
use crate::speculative::{ANY, Draft};
use crate::{ChatAsk, EngineError, FinishReason, LoadedModel, Request, Update};

/// The number of rows that a step reads for one request. More are read in several steps.
const MOST_ROWS: usize = 64;

/// The likelihood of a given answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// The natural logarithm of the probability that the model writes exactly this answer, and then one of its end tokens.
    pub log: f64,
    /// The number of tokens, with the end token if the model has any.
    pub tokens: usize,
}

/// Given answers, and the likelihoods of the first ones.
#[derive(Debug, Clone)]
pub(crate) struct Likelihoods {
    answers: Vec<Vec<u32>>,
    ends: Vec<u32>,
    found: Vec<Likelihood>,
    /// The answers that the next step reads, behind those that are found.
    reads: usize,
    /// The tokens of these answers.
    tree: Draft,
}

impl Likelihoods {
    /// Prepares the answers to a prompt. `ends` are the tokens of which one must follow.
    ///
    /// # Errors
    /// [`EngineError::InvalidSetting`] for no answers, or one that is empty or too long; [`EngineError::PromptTooLong`] if an
    /// answer does not fit behind the prompt; a token that the model does not have.
    pub fn new(
        answers: Vec<Vec<u32>>,
        ends: &[u32],
        prompt: usize,
        (vocabulary, context): (usize, usize),
    ) -> Result<Self, EngineError> {
        let is_wrong = |answer: &&Vec<u32>| answer.is_empty() || answer.len() >= MOST_ROWS;
        if answers.is_empty() || answers.iter().any(|answer| is_wrong(&answer)) {
            let found =
                answers.iter().find(is_wrong).map_or("no answers".to_owned(), |a| format!("{} tokens", a.len()));
            return Err(EngineError::InvalidSetting { name: "answers", found, expected: "answers of 1 to 63 tokens" });
        }
        if let Some(&token) = answers.iter().flatten().find(|&&token| token as usize >= vocabulary) {
            return Err(BackendError::UnknownToken { token, vocabulary }.into());
        }
        let ends = ends.iter().copied().filter(|&end| (end as usize) < vocabulary).collect();
        let mut likelihoods = Self { answers, ends, found: Vec::new(), reads: 0, tree: Draft::default() };
        // The cells of a step's tree lie behind the prompt, each at a place of its own.
        let cells = (0..).map_while(|_| likelihoods.gather().then(|| likelihoods.skip())).max().unwrap_or(0);
        likelihoods.found.clear();
        likelihoods.gather();
        if prompt + cells > context {
            return Err(EngineError::PromptTooLong { tokens: prompt + cells, context });
        }
        Ok(likelihoods)
    }

    /// Passes over the answers of the next step, and returns the number of their tokens.
    fn skip(&mut self) -> usize {
        let none = Likelihood { log: 0.0, tokens: 0 };
        self.found.resize(self.found.len() + self.reads, none);
        self.tree.len()
    }

    /// Collects the answers that the next step reads. Returns `false` if there are none.
    fn gather(&mut self) -> bool {
        (self.reads, self.tree) = (0, Draft::default());
        for answer in &self.answers[self.found.len()..] {
            let mut tree = self.tree.clone();
            tree.add_path(answer, ANY);
            if tree.len() + 1 > MOST_ROWS {
                break;
            }
            (self.reads, self.tree) = (self.reads + 1, tree);
        }
        self.reads > 0
    }

    /// Returns the number of rows of the next step.
    pub fn rows(&self) -> usize {
        self.tree.len() + 1
    }

    /// Adds rows of the prompt's `unplanned` tokens: `most` at most, or the last one and all tokens of the next answers. Returns
    /// `true` for these.
    pub fn plan(&self, sequence: SequenceId, unplanned: &[u32], most: usize, batch: &mut Batch) -> bool {
        if let [last] = unplanned {
            self.tree.plan(sequence, *last, Want::LOGITS, batch);
            return true;
        }
        let rows = unplanned.len().saturating_sub(1).min(most.max(1));
        batch.extend(sequence, &unplanned[..rows], Want::NOTHING);
        false
    }

    /// Takes the logits of the rows of a step: those behind the prompt and behind each token of the tree. // each `[V]`
    fn take(&mut self, logits: &[&[f32]]) -> Result<(), EngineError> {
        if logits.len() < self.rows() {
            return Err(EngineError::MissingOutput { what: "logits" });
        }
        let totals: Vec<f64> = logits.iter().map(|row| log_total(row)).collect();
        let log_of = |row: usize, token: u32| f64::from(logits[row][token as usize]) - totals[row];
        for answer in &self.answers[self.found.len()..][..self.reads] {
            let (mut log, mut node) = (0.0, None);
            for &token in answer {
                log += log_of(node.map_or(0, |node| node + 1), token);
                node = self.tree.child(node, token);
            }
            let mut tokens = answer.len();
            if !self.ends.is_empty() {
                let row = node.map_or(0, |node| node + 1);
                log += self.ends.iter().map(|&end| log_of(row, end).exp()).sum::<f64>().ln();
                tokens += 1;
            }
            self.found.push(Likelihood { log, tokens });
        }
        self.gather();
        Ok(())
    }

    /// Returns `true` if all likelihoods are found.
    fn is_complete(&self) -> bool {
        self.found.len() == self.answers.len()
    }

    /// Returns the likelihoods, in the order of the answers.
    pub fn finish(self) -> Vec<Likelihood> {
        self.found
    }
}

impl Answer {
    /// Takes the outputs of `rows` rows of the prompt, or of a step that reads given answers.
    pub fn take_likelihoods(
        &mut self,
        (rows, reads_answers): (usize, bool),
        outputs: &Outputs<'_>,
        on_update: &mut dyn FnMut(Update),
    ) -> Result<Next, EngineError> {
        let mut next = Next::default();
        let position = self.tokens.len() - 1;
        let Some(likelihoods) = &mut self.likelihoods else { return Ok(next) };
        if reads_answers {
            outputs.logits.iter().try_for_each(|row| check_logits(row, position))?;
            likelihoods.take(outputs.logits)?;
            let is_complete = likelihoods.is_complete();
            // The last token of the prompt stays for the answers that are left.
            next.accepted = Some(if is_complete { vec![0] } else { Vec::new() });
            next.end = is_complete.then_some(FinishReason::Stop);
            self.computed += usize::from(is_complete);
        } else {
            self.computed += rows;
        }
        on_update(Update::Prefill { done: self.computed, total: self.tokens.len() });
        Ok(next)
    }
}

/// Checks that logits are numbers; minus infinity is one. // `[V]`
pub(crate) fn check_logits(logits: &[f32], position: usize) -> Result<(), EngineError> {
    let broken = |(_, v): &(usize, &f32)| v.is_nan() || **v == f32::INFINITY;
    match logits.iter().enumerate().find(broken) {
        Some((token, &value)) => Err(EngineError::NotFinite { position, token, value }),
        None => Ok(()),
    }
}

impl LoadedModel {
    /// Returns the request for the likelihoods of given answers to messages. The answers are those without reasoning, tools and
    /// constraint, and the completion has [`crate::Completion::likelihoods`] and no text.
    ///
    /// # Errors
    /// As [`LoadedModel::chat_request`].
    pub fn likelihood_request(
        &self,
        messages: &[Message],
        ask: &ChatAsk,
        answers: &[impl AsRef<str>],
    ) -> Result<Request, EngineError> {
        let ask = ChatAsk { options: ask.options.clone(), begun: Some(String::new()), ..ChatAsk::default() };
        let prompt = self.chat_of(messages, ask)?.prompt(self.tokenizer())?;
        let encode = |answer: &_| self.tokenizer().encode(AsRef::as_ref(answer), EncodeOptions::default());
        let answers = answers.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        Ok(Request::likelihoods(prompt, answers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likelihoods(answers: &[&[u32]], context: usize) -> Result<Likelihoods, EngineError> {
        Likelihoods::new(answers.iter().map(|answer| answer.to_vec()).collect(), &[0], 10, (9, context))
    }

    #[test]
    fn logs_are_sums_over_the_path_and_the_ends() {
        let mut all = likelihoods(&[&[1, 2], &[1], &[3]], 13).expect("they fit");
        assert_eq!(all.rows(), 4);
        // Rows: behind the prompt, 1, 1 2, 3. Each has the weights 1..=9 in another order.
        let row = |shift: usize| -> Vec<f32> { (0..9).map(|i| (((i + shift) % 9 + 1) as f32).ln() + 5.0).collect() };
        let rows: Vec<Vec<f32>> = (0..4).map(row).collect();
        all.take(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("logits of all rows");
        assert!(all.is_complete());
        let p = |weights: &[f64]| weights.iter().map(|w| (w / 45.0).ln()).sum::<f64>();
        let wanted = [(p(&[2.0, 4.0, 3.0]), 3), (p(&[2.0, 2.0]), 2), (p(&[4.0, 4.0]), 2)];
        for (found, (log, tokens)) in all.finish().into_iter().zip(wanted) {
            assert!((found.log - log).abs() < 1e-5 && found.tokens == tokens, "{found:?} {log}");
        }
    }

    #[test]
    fn many_answers_are_read_in_several_steps() {
        let long: Vec<u32> = vec![1; 63];
        let other: Vec<u32> = vec![2; 40];
        let mut all = likelihoods(&[&long, &long[..5], &other], 73).expect("they fit");
        assert_eq!((all.rows(), all.reads), (64, 2));
        all.found.resize(2, Likelihood { log: 0.0, tokens: 0 });
        assert!(all.gather() && all.rows() == 41);
        assert!(matches!(likelihoods(&[&long], 72), Err(EngineError::PromptTooLong { tokens: 73, context: 72 })));
    }

    #[test]
    fn wrong_answers_are_refused() {
        for answers in [&[][..], &[&[][..]], &[&[1; 64]]] {
            assert!(matches!(likelihoods(answers, 999), Err(EngineError::InvalidSetting { .. })), "{answers:?}");
        }
        assert!(matches!(likelihoods(&[&[9]], 99), Err(EngineError::Model(_))));
        assert!(check_logits(&[0.0, f32::NEG_INFINITY], 3).is_ok());
        assert!(check_logits(&[0.0, f32::NAN], 3).is_err());
    }
}
