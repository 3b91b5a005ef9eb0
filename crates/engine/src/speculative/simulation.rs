//! Chances and policy together, on machines and texts of known properties.

use honelm_backend::uniform;

use super::chances::Chances;
use super::policy::{Candidate, Policy};
use super::tree::{Class, Draft};

/// A machine and a text.
#[derive(Debug, Clone, Copy)]
struct World {
    /// The cost of one more row, as a part of a step.
    row: f64,
    /// The cost of a draft model's step, as a part of a step.
    model: f64,
    /// The probability that a draft token is right.
    accept: f64,
    seed: u64,
}

impl World {
    fn draw(&self, at: u64, what: u64) -> f64 {
        f64::from(uniform(self.seed, what, at, 0))
    }

    /// Returns the time of a step of `rows` rows, with noise and rare interruptions.
    fn step(&self, rows: usize, at: u64) -> f64 {
        let interruption = if self.draw(at, 1) < 0.01 { 3.0 } else { 1.0 };
        0.01 * (1.0 + self.row * (rows - 1) as f64) * (0.9 + 0.2 * self.draw(at, 2)) * interruption
    }

    /// Returns the number of right tokens at the start of a draft of `len` tokens.
    fn right(&self, len: usize, at: u64) -> usize {
        (0..len).take_while(|&depth| self.draw(at, 10 + depth as u64) < self.accept).count()
    }

    /// Returns the tokens that are drawn where `right` tokens of a draft `0, 1, 2, ...` are right.
    fn drawn(right: usize) -> Vec<u32> {
        (0..right as u32).chain([99]).collect()
    }

    /// Writes at least 3,000 tokens with drafts from the text. Returns the speed as a multiple of plain decoding.
    fn ngram_chance(self) -> f64 {
        let mut draft = Draft::default();
        (0..12).fold(None, |parent, i| Some(draft.add(parent, i, Class::of_match(4 + i as usize, false))));
        let (mut policy, mut all, mut own) = (Policy::default(), Chances::default(), Chances::default());
        let (mut time, mut plain, mut tokens) = (0.0, 0.0, 0);
        for at in 0.. {
            let chances = all.paths(&own, &draft);
            let mut size = policy.nodes(1, &chances, 0.0).size;
            if size == 0 {
                size = policy.retry(1, &chances);
            }
            let seconds = self.step(1 + size, at);
            policy.measured(1, 1 + size, seconds);
            let accepted = self.right(size, at);
            time += seconds;
            tokens += 1 + accepted;
            plain += (1 + accepted) as f64 * self.step(1, at);
            let drawn = &Self::drawn(self.right(draft.len(), at))[..];
            let drawn = &drawn[..drawn.len().min(accepted + 1)];
            all.observe(&draft, drawn);
            own.observe(&draft, drawn);
            if tokens > 3000 {
                break;
            }
        }
        plain / time
    }

    /// The same with a draft model.
    fn by_model(self) -> f64 {
        let class = Class::of_probability(self.accept, false, true);
        let (mut policy, mut all, mut own) = (Policy::default(), Chances::default(), Chances::default());
        let (mut time, mut plain, mut tokens, mut behind) = (0.0, 0.0, 0, 60);
        for at in 0.. {
            let accept = all.of_model(&own);
            let candidate = Candidate { accept, behind, left: 3000 - tokens, most: 100 };
            let depth = policy.depth(1, &[candidate], (0, 0.0)).size;
            let mut draft = Draft::default();
            let mut spent = 0.0;
            let mut node = None;
            for i in 0..depth {
                let rows = if i == 0 { behind } else { 1 };
                let seconds = self.model * self.step(rows, at + 7 * i as u64);
                policy.model_measured(rows, seconds);
                spent += seconds;
                node = Some(draft.add(node, i as u32, class));
            }
            let chances = all.paths(&own, &draft);
            let size = policy.nodes(1, &chances, spent).size;
            if depth > 0 {
                policy.drafted(1, spent, size);
            }
            if size == 0 && depth == 0 {
                policy.retry(1, &[]);
            }
            let seconds = self.step(1 + size, at);
            policy.measured(1, 1 + size, seconds);
            let accepted = self.right(size, at);
            policy.accepted(1, accepted);
            behind = if depth == 0 { behind + 1 } else { 2 };
            time += seconds + spent;
            tokens += 1 + accepted;
            plain += (1 + accepted) as f64 * self.step(1, at);
            let drawn = Self::drawn(accepted);
            all.observe(&draft, &drawn);
            own.observe(&draft, &drawn);
            if tokens >= 2990 {
                break;
            }
        }
        plain / time
    }
}

#[test]
fn speculation_never_costs_more_than_it_may() {
    for row in [0.02, 0.1, 0.3, 0.6, 1.0] {
        for accept in [0.0, 0.1, 0.3, 0.6, 0.9, 0.98] {
            for seed in 0..2 {
                let world = World { row, model: 0.25, accept, seed };
                // An error of the estimate costs most if a row costs a whole step.
                let least = if row < 1.0 { 0.98 } else { 0.96 };
                let found = world.ngram_chance();
                assert!(found > least, "from the text: {found} in {world:?}");
                for model in [0.05, 0.25, 0.6, 1.0] {
                    let world = World { model, ..world };
                    let found = world.by_model();
                    assert!(found > least, "by a model: {found} in {world:?}");
                }
            }
        }
    }
}

#[test]
fn speculation_gains_where_it_can() {
    let cheap = World { row: 0.1, model: 0.1, accept: 0.9, seed: 1 };
    // The best constant length of 1 to 12 tokens.
    let best = |cost: &dyn Fn(i32) -> f64| {
        (1..=12).map(|len| (0..=len).map(|d| 0.9f64.powi(d)).sum::<f64>() / cost(len)).fold(0.0, f64::max)
    };
    let (text, model) = (cheap.ngram_chance(), cheap.by_model());
    let from_text = best(&|len| 1.0 + 0.1 * f64::from(len));
    let by_model = best(&|len| 1.0 + 0.2 * f64::from(len));
    assert!(text > 0.9 * from_text, "{text} of {from_text}");
    assert!(model > 0.9 * by_model, "{model} of {by_model}");
}
