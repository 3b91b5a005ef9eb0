//! The log-probabilities of a prompt's own tokens.

use honelm::Runner;
use honelm_backend::{Batch, SequenceId, Want, block_on};
use honelm_engine::{EngineError, LoadedModel, TokenLogprobs, sampling};

use super::outbox::Outbox;
use super::prepare::named;
use crate::ApiError;
use crate::job::{Job, Part, TokenLogprob};

/// The number of rows in a step, each with logits.
const ROWS: usize = 64;

/// Sends the prompt of each answer as its first text, with the log-probabilities of its tokens if the job wants any.
pub(super) fn echo(job: &Job, prompt: &[u32], model: &mut LoadedModel, outbox: &mut Outbox) -> Result<(), ApiError> {
    let text = model.tokenizer().decode(prompt, true);
    let logprobs = match job.how.logprobs {
        Some(top) => scored(prompt, top, model)?,
        None => Vec::new(),
    };
    for choice in 0..job.choices.max(1) {
        outbox.push(Part::Text { choice, text: text.clone(), logprobs: logprobs.clone() });
    }
    Ok(())
}

/// Returns the tokens of a prompt, each but the first one with its log-probability given those before it, and the `top`
/// most likely tokens in its place.
fn scored(prompt: &[u32], top: usize, model: &mut LoadedModel) -> Result<Vec<TokenLogprob>, ApiError> {
    let Some((&first, rest)) = prompt.split_first() else { return Ok(Vec::new()) };
    let (tokens, context) = (prompt.len(), model.context());
    if tokens > context {
        return Err(EngineError::PromptTooLong { tokens, context }.into());
    }
    let runner = model.driver().runner()?;
    let sequence = runner.open();
    let scores = score(runner, sequence, prompt, rest, top);
    let closed = runner.close(sequence);
    let scores = scores?;
    closed.map_err(EngineError::from)?;
    let tokenizer = model.tokenizer();
    let (text, bytes) = tokenizer.token_text(first);
    let first = TokenLogprob { id: first, text, bytes, logprob: None, top: Vec::new() };
    Ok([first].into_iter().chain(scores.iter().map(|found| named(tokenizer, found))).collect())
}

/// Computes the log-probabilities of the tokens `next`, those that follow each token of the prompt.
fn score(
    runner: &mut dyn Runner,
    sequence: SequenceId,
    prompt: &[u32],
    next: &[u32],
    top: usize,
) -> Result<Vec<TokenLogprobs>, EngineError> {
    let rows = ROWS.min(runner.step_rows()).max(1);
    let mut scores = Vec::with_capacity(next.len());
    for (tokens, next) in prompt.chunks(rows).zip(next.chunks(rows)) {
        let mut batch = Batch::default();
        batch.extend(sequence, &tokens[..next.len()], Want::LOGITS);
        batch.want.fill(Want::LOGITS);
        let ticket = runner.step(&batch)?;
        let output = block_on(runner.read(ticket))?;
        scores.extend(output.logits.iter_rows().zip(next).map(|(row, &id)| sampling::token_logprobs(row, id, top)));
    }
    Ok(scores)
}
