//! The log-likelihoods of continuations of a context. Waits for the back end, which is not possible in browsers.

use honelm_backend::{BackendError, Batch, Parent, SequenceId, Token, Want, block_on};
use honelm_model::{ModelError, Runner};
use honelm_tensor::Matrix;

use crate::score::for_logits;
use crate::scores::per_row;
use crate::{EvalError, rows};

/// A context and its continuations, as tokens. None of them is empty, and the context with any of them, without its last
/// token, fits the model's context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuations {
    /// The context.
    pub context: Vec<u32>,
    /// The continuations.
    pub of: Vec<Vec<u32>>,
}

/// The likelihood of a continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// The sum of the logarithms of its tokens' probabilities, in nats.
    pub log: f64,
    /// `true` if each of its tokens is the most likely one, so that greedy generation writes it.
    pub greedy: bool,
}

/// Computes the log-likelihoods of continuations, as lm-evaluation-harness does (`lm_eval/models/huggingface.py`, function
/// `_loglikelihood_tokens`). A context is computed once for all of its continuations, what it shares with the last one of
/// the step before is not computed again, and contexts share steps. `progress` receives the number of finished requests, and stops the run by returning `false`.
///
/// # Errors
/// An error of the model, logits that are not finite, [`EvalError::Interrupted`].
pub fn likelihoods(
    runner: &mut dyn Runner,
    requests: &[Continuations],
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Vec<Likelihood>>, EvalError> {
    let vocabulary = runner.facts().vocabulary;
    let targets = requests.iter().flat_map(|request| request.of.iter().flatten());
    if let Some(&token) = targets.into_iter().find(|&&token| token as usize >= vocabulary) {
        return Err(ModelError::from(BackendError::UnknownToken { token, vocabulary }).into());
    }
    let mut prefix = Prefix::default();
    let found = score_all(runner, requests, &mut prefix, progress);
    prefix.close(runner)?;
    found
}

/// Scores the requests in waves.
fn score_all(
    runner: &mut dyn Runner,
    requests: &[Continuations],
    prefix: &mut Prefix,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Vec<Likelihood>>, EvalError> {
    let mut out = Vec::with_capacity(requests.len());
    while out.len() < requests.len() {
        if !progress(out.len()) {
            return Err(EvalError::Interrupted);
        }
        let rest = &requests[out.len()..];
        let wave = &rest[..wave(rest, &prefix.tokens, runner.context())];
        let mut open = Vec::new();
        let scored = score_wave(runner, wave, prefix, &mut open);
        // The last context stays for the next wave, which may begin in the same way.
        let last = (scored.is_ok() && !open.is_empty()).then(|| open.remove(wave.len() - 1));
        for sequence in open {
            runner.close(sequence)?;
        }
        if let (Some(sequence), Some(request)) = (last, wave.last()) {
            prefix.close(runner)?;
            *prefix = Prefix { sequence: Some(sequence), tokens: request.context.clone() };
        }
        let scored = scored?;
        let broken = |of: &Vec<Likelihood>| of.iter().any(|likelihood| !likelihood.log.is_finite());
        if let Some(at) = scored.iter().position(broken) {
            return Err(EvalError::ItemNotFinite { item: out.len() + at });
        }
        out.extend(scored);
    }
    progress(requests.len());
    Ok(out)
}

/// A context in the cache.
#[derive(Default)]
struct Prefix {
    sequence: Option<SequenceId>,
    tokens: Vec<u32>,
}

impl Prefix {
    fn close(&mut self, runner: &mut dyn Runner) -> Result<(), ModelError> {
        self.sequence.take().map_or(Ok(()), |sequence| runner.close(sequence))
    }

    /// Opens a sequence with the start of `context` that it shares with this one. The second value is its length.
    fn open(&self, runner: &mut dyn Runner, context: &[u32]) -> Result<(SequenceId, usize), ModelError> {
        let common = common(&self.tokens, context);
        match self.sequence {
            Some(sequence) if common > 0 => {
                let fork = runner.fork(sequence)?;
                // A sliding window may have dropped some of these tokens.
                let kept = runner.truncate(fork, common)?.len;
                Ok((fork, kept))
            }
            _ => Ok((runner.open(), 0)),
        }
    }
}

/// The number of tokens from which a common start is worth a copy.
const LEAST_COMMON: usize = 16;

/// Returns the length of the start that two contexts share, without the last token, whose state is needed; 0 if it is short.
fn common(a: &[u32], b: &[u32]) -> usize {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count().min(b.len().saturating_sub(1));
    if common < LEAST_COMMON { 0 } else { common }
}

/// Returns the number of requests, at least one, whose new tokens fit the cache of one full context.
fn wave(requests: &[Continuations], prefix: &[u32], context: usize) -> usize {
    let need = |request: &Continuations| {
        let of: usize = request.of.iter().map(Vec::len).sum();
        request.context.len() - common(prefix, &request.context) + of
    };
    let mut tokens = 0;
    let fits = requests.iter().take_while(|request| {
        tokens += need(request);
        tokens <= context
    });
    fits.count().max(1)
}

/// Tokens at the end of a sequence, and the first of them whose hidden state is wanted.
struct Feed<'t> {
    sequence: SequenceId,
    tokens: &'t [u32],
    wanted: usize,
}

/// Scores requests together. Adds the sequences that it opens to `open`, those of the contexts first.
fn score_wave(
    runner: &mut dyn Runner,
    requests: &[Continuations],
    prefix: &Prefix,
    open: &mut Vec<SequenceId>,
) -> Result<Vec<Vec<Likelihood>>, EvalError> {
    // The last row of a context predicts the first token of each continuation.
    let mut feeds = Vec::new();
    for request in requests {
        let (sequence, held) = prefix.open(runner, &request.context)?;
        open.push(sequence);
        let tokens = &request.context[held..];
        feeds.push(Feed { sequence, tokens, wanted: tokens.len().saturating_sub(1) });
    }
    let hidden = hidden_states(runner, &feeds)?;
    let mut scored: Vec<Vec<Likelihood>> = Vec::with_capacity(requests.len());
    for_logits(runner, &hidden, &mut |first, logits| {
        let tops = per_row(0..logits.rows, |i| rows::top(logits.row(i)));
        for (i, (request, top)) in requests[first..].iter().zip(tops).enumerate() {
            let start = |of: &Vec<u32>| of.first().map_or_else(Likelihood::certain, |&t| top.of(logits.row(i), t));
            scored.push(request.of.iter().map(start).collect());
        }
        Ok(())
    })?;
    // Each further token is predicted by a row of the continuation, on a copy of the context.
    let (mut feeds, mut targets) = (Vec::new(), Vec::new());
    for (at, (request, &root)) in requests.iter().zip(&open.clone()).enumerate() {
        for (which, of) in request.of.iter().enumerate().filter(|(_, of)| of.len() > 1) {
            let sequence = runner.fork(root)?;
            open.push(sequence);
            feeds.push(Feed { sequence, tokens: &of[..of.len() - 1], wanted: 0 });
            targets.extend(of[1..].iter().map(|&token| (at, which, token)));
        }
    }
    let hidden = hidden_states(runner, &feeds)?;
    for_logits(runner, &hidden, &mut |first, logits| {
        let token = |i: usize| targets[first + i].2;
        let found = per_row(0..logits.rows, |i| rows::top(logits.row(i)).of(logits.row(i), token(i)));
        for (&(at, which, _), next) in targets[first..].iter().zip(found) {
            let likelihood = &mut scored[at][which];
            likelihood.log += next.log;
            likelihood.greedy &= next.greedy;
        }
        Ok(())
    })?;
    Ok(scored)
}

impl Likelihood {
    /// Returns the likelihood of the empty continuation.
    fn certain() -> Self {
        Self { log: 0.0, greedy: true }
    }
}

/// Runs feeds together and returns the wanted hidden states in their order. // [wanted, D]
fn hidden_states(runner: &mut dyn Runner, feeds: &[Feed<'_>]) -> Result<Matrix, ModelError> {
    let row = |feed: &Feed<'_>, i: usize| {
        let want = if i >= feed.wanted { Want::HIDDEN } else { Want::NOTHING };
        (feed.sequence, feed.tokens[i], want)
    };
    let all: Vec<_> = feeds.iter().flat_map(|feed| (0..feed.tokens.len()).map(move |i| row(feed, i))).collect();
    let mut hidden = Matrix::default();
    for part in all.chunks(runner.step_rows().max(1)) {
        let mut batch = Batch::default();
        for &(sequence, token, want) in part {
            batch.push(sequence, Token::Id(token), Parent::Previous, want);
        }
        let ticket = runner.step(&batch)?;
        let found = block_on(runner.read(ticket))?.hidden;
        if hidden.rows == 0 {
            hidden = found;
        } else {
            hidden.rows += found.rows;
            hidden.data.extend(found.data);
        }
    }
    Ok(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_fill_one_context_with_tokens_that_are_not_shared() {
        let request =
            |context: Vec<u32>, of: &[usize]| Continuations { context, of: of.iter().map(|&n| vec![2; n]).collect() };
        let one = |context: usize, of: &[usize]| request(vec![1; context], of);
        let requests = [one(4, &[1, 1]), one(3, &[1]), one(9, &[2]), one(5, &[])];
        assert_eq!((wave(&requests, &[], 10), wave(&requests, &[], 9), wave(&requests[2..], &[], 10)), (2, 1, 1));
        let long: Vec<u32> = (0..20).collect();
        let alike = |last: u32| request([&long[..], &[last]].concat(), &[1]);
        let requests = [alike(7), alike(8), alike(9)];
        assert_eq!((wave(&requests, &long, 4), wave(&requests, &[], 44)), (2, 2));
        // The last token is always computed, and a short start is not shared.
        assert_eq!((common(&long, &long), common(&long[..15], &long), common(&long[1..], &long)), (19, 0, 0));
    }
}
