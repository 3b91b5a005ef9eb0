//! The speed of speculative decoding on classes of prompts, in pairs with plain decoding.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use honelm_backend::block_on;
use honelm_engine::{Completion, Generation, Request, Speculate, SpeculationCounts};
use honelm_eval::bootstrap;
use serde::Serialize;

use crate::{Error, Event, Events, Model, RunOptions, model_name};

/// The classes, each with eight prompts.
const PROMPTS: &str = include_str!("prompts.json");
/// The order of the classes.
const CLASSES: [&str; 4] = ["story", "repetition", "code", "extraction"];

/// The settings of [`speculation`].
#[derive(Debug, Clone)]
pub struct SpeculationOptions {
    /// The model.
    pub model: PathBuf,
    /// The source of the drafts, the draft model, the device and its settings.
    pub run: RunOptions,
    /// The number of tokens of each answer.
    pub tokens: usize,
    /// The number of pairs in each class, after one for each prompt that is not counted, at most eight.
    pub rounds: usize,
    /// The temperature of the answers.
    pub temperature: f32,
}

/// The result for one class of prompts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpeculationRow {
    /// The name of the model.
    pub model: String,
    /// The name of the draft model.
    pub draft: Option<String>,
    /// `ngram`, `draft` or `auto`.
    pub speculate: &'static str,
    /// The device and its kernels.
    pub device: String,
    /// `story`, `repetition`, `code` or `extraction`.
    pub class: &'static str,
    /// The temperature.
    pub temperature: f32,
    /// The number of pairs. Both answers of a pair have the same prompt and seed.
    pub rounds: usize,
    /// The number of pairs of which both answers have the same tokens.
    pub equal: usize,
    /// The number of tokens after the first ones of all answers with drafts.
    pub tokens: usize,
    /// The number of verified draft tokens.
    pub drafted: u64,
    /// The number of accepted draft tokens.
    pub accepted: u64,
    /// The share of the draft tokens at each depth that were accepted, of those whose predecessors were.
    pub acceptance: Vec<f64>,
    /// The number of tokens for each step of the model.
    pub tokens_per_step: f64,
    /// The rate without drafts.
    pub plain_tokens_per_second: f64,
    /// The rate with drafts.
    pub tokens_per_second: f64,
    /// The quotient of the two.
    pub speedup: f64,
    /// Its one-sided 95% lower bound (bootstrap over the pairs).
    pub speedup_lower95: f64,
    /// The quotient that follows from the number of steps and the measured time of each.
    pub predicted_speedup: f64,
    /// The measured time of steps relative to that of one row, for the numbers of rows that occurred.
    pub step_costs: Vec<StepCost>,
    /// The measured time of a draft model's step of one row, relative to the model's.
    pub draft_step_cost: Option<f64>,
}

/// The time of a step, relative to that of one row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepCost {
    /// The number of rows.
    pub rows: usize,
    /// The relative time.
    pub cost: f64,
}

/// One pair of answers.
struct Pair {
    plain: Completion,
    drafted: Completion,
}

/// Generates answers with and without drafts, in turns, and compares them. Calls `on_row` after each class; a return value of
/// `false` ends the measurement.
///
/// # Errors
/// An invalid model or draft model, a device that fails, [`Error::Interrupted`] if `events` returns `false`.
pub fn speculation(
    options: &SpeculationOptions,
    events: Events<'_>,
    on_row: &mut dyn FnMut(&SpeculationRow) -> bool,
) -> Result<Vec<SpeculationRow>, Error> {
    if options.tokens < 2 || options.rounds == 0 {
        return Err(Error::Usage("nothing to measure: expected at least 2 tokens and 1 round".to_owned()));
    }
    let source = |source| Error::Serialise { what: "the prompts", source };
    let prompts: BTreeMap<String, Vec<String>> = serde_json::from_str(PROMPTS).map_err(source)?;
    let mut model = Model::open(&options.model, &options.run, &mut *events)?;
    let mut rows = Vec::new();
    for class in CLASSES {
        let row = measure_class(&mut model, options, class, &prompts[class], &mut *events)?;
        let goes_on = on_row(&row);
        rows.push(row);
        if !goes_on {
            break;
        }
    }
    Ok(rows)
}

fn measure_class(
    model: &mut Model,
    options: &SpeculationOptions,
    class: &'static str,
    prompts: &[String],
    events: Events<'_>,
) -> Result<SpeculationRow, Error> {
    let warm = options.rounds.min(prompts.len());
    let total = warm + options.rounds;
    let mut pairs = Vec::new();
    let mut before = SpeculationCounts::default();
    for round in 0..total {
        if !events(&Event::Stage { name: "measuring", detail: class, done: round, total }) {
            return Err(Error::Interrupted);
        }
        if round == warm {
            before = model.loaded.driver().speculation().clone();
            pairs.clear();
        }
        pairs.push(pair(model, options, &prompts[round % prompts.len()], round)?);
    }
    let driver = model.loaded.driver();
    let counts = driver.speculation().since(&before);
    let seconds = |rows: usize| driver.step_seconds(rows);
    let (one, draft_one) = (seconds(1).0.unwrap_or(0.0), seconds(1).1);
    // The answers without drafts are among the counted steps of one row.
    let plain_tokens: usize = pairs.iter().map(|pair| pair.plain.decoded_tokens).sum();
    let mut steps = counts.steps.clone();
    if let Some(count) = steps.get_mut(&1) {
        *count = count.saturating_sub(plain_tokens as u64);
    }
    let of_model: f64 = steps.iter().map(|(&rows, &count)| count as f64 * seconds(rows).0.unwrap_or(0.0)).sum();
    let of_draft: f64 =
        counts.draft_steps.iter().map(|(&rows, &count)| count as f64 * seconds(rows).1.unwrap_or(0.0)).sum();
    let tokens: usize = pairs.iter().map(|pair| pair.drafted.decoded_tokens).sum();
    let rate = |seconds: f64| tokens as f64 / seconds;
    let sum = |of: fn(&Pair) -> f64| pairs.iter().map(of).sum::<f64>();
    let (plain, drafted) = (sum(|pair| pair.plain.decode_seconds), sum(|pair| pair.drafted.decode_seconds));
    let bounds = bootstrap(pairs.len(), |counts| {
        let weighted = |of: fn(&Pair) -> f64| -> f64 {
            pairs.iter().zip(counts).map(|(pair, &count)| of(pair) * f64::from(count)).sum()
        };
        weighted(|pair| pair.plain.decode_seconds) / weighted(|pair| pair.drafted.decode_seconds)
    });
    let cost = |rows: usize| seconds(rows).0.filter(|_| one > 0.0).map(|found| StepCost { rows, cost: found / one });
    Ok(SpeculationRow {
        model: model_name(&options.model),
        draft: options.run.draft.as_deref().map(model_name),
        speculate: options.run.speculate.name(),
        class,
        temperature: options.temperature,
        rounds: pairs.len(),
        equal: pairs.iter().filter(|pair| pair.plain.token_ids == pair.drafted.token_ids).count(),
        tokens,
        drafted: counts.drafted,
        accepted: counts.accepted,
        acceptance: counts.depths.iter().map(|depth| depth.accepted as f64 / depth.tried.max(1) as f64).collect(),
        tokens_per_step: tokens as f64 / (tokens as u64).saturating_sub(counts.accepted).max(1) as f64,
        plain_tokens_per_second: rate(plain),
        tokens_per_second: rate(drafted),
        speedup: plain / drafted,
        speedup_lower95: bounds.lower95,
        predicted_speedup: one * tokens as f64 / (of_model + of_draft),
        step_costs: steps.keys().filter_map(|&rows| cost(rows)).collect(),
        draft_step_cost: draft_one.map(|draft| draft / one),
        device: model.describe().to_owned(),
    })
}

/// Generates an answer twice, with drafts and without, in an order that changes with the round.
fn pair(model: &mut Model, options: &SpeculationOptions, prompt: &str, round: usize) -> Result<Pair, Error> {
    let how = Generation {
        max_tokens: options.tokens,
        temperature: options.temperature,
        seed: round as u64,
        ..model.generation()
    };
    let mut answer = |speculate: Speculate| -> Result<Completion, Error> {
        let request = model.loaded.continuation(prompt, &how.clone().without_ends(), None)?;
        let request = Request { speculate: Some(speculate), ..request };
        let begin = Instant::now();
        let clock = || begin.elapsed().as_secs_f64();
        Ok(block_on(model.loaded.driver().complete(request, &clock, &mut |_| ()))?)
    };
    if round.is_multiple_of(2) {
        let plain = answer(Speculate::Off)?;
        Ok(Pair { plain, drafted: answer(options.run.speculate)? })
    } else {
        let drafted = answer(options.run.speculate)?;
        Ok(Pair { plain: answer(Speculate::Off)?, drafted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_eight_prompts() {
        let prompts: BTreeMap<String, Vec<String>> = serde_json::from_str(PROMPTS).expect("JSON");
        assert_eq!(prompts.len(), CLASSES.len());
        for class in CLASSES {
            assert_eq!(prompts[class].len(), 8, "{class}");
        }
    }
}
