//! Training of the tagger: stochastic gradient ascent of the conditional likelihood with AdaGrad (Duchi, Hazan and Singer
//! 2011). Tokens whose tag is unknown are summed over.

use std::ops::Range;

use super::crf::{Scores, TAGS, Transitions, marginals};
use super::features::{Features, Lexicon, ROWS, features};
use super::model::{COLUMNS, write};
use super::tokens::{sequences, tokens};

/// A text with its tags.
#[derive(Debug)]
pub struct Example {
    /// The text.
    pub text: String,
    /// The bytes of an entity and its tag: 1 person, 2 place, 3 organisation, 4 address; `None` where it is unknown.
    pub spans: Vec<(Range<usize>, Option<usize>)>,
}

/// Settings of the training.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The passes over the examples.
    pub epochs: usize,
    /// The step size.
    pub rate: f32,
    /// The part of the tokens that are seen without the features that name them.
    pub dropout: f32,
    /// The part of the tokens that are seen without the features of several neighbours; three in ten of them without any
    /// neighbour.
    pub context_dropout: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { epochs: 4, rate: 0.02, dropout: 0.3, context_dropout: 0.7 }
    }
}

struct Trainer {
    weights: Vec<f32>,
    squares: Vec<f32>,
    transitions: Transitions,
    transition_squares: Transitions,
    rate: f32,
}

/// Trains a tagger and returns its file. The names of `lexicon` should be a part of those of `shipped`, which the file gets,
/// so that the tagger does not expect to know each name. `progress` gets the mean log-likelihood of a token after each pass.
#[must_use]
pub fn train(
    examples: &[Example],
    lexicon: &Lexicon,
    shipped: &Lexicon,
    settings: Settings,
    mut progress: impl FnMut(usize, f64),
) -> Vec<u8> {
    let mut trainer = Trainer {
        weights: vec![0.0; ROWS * COLUMNS],
        squares: vec![1e-2; ROWS * COLUMNS],
        transitions: Transitions::default(),
        transition_squares: [[1.0; TAGS]; TAGS],
        rate: settings.rate,
    };
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut order: Vec<usize> = (0..examples.len()).collect();
    for epoch in 0..settings.epochs {
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 40) as f32 / (1u64 << 24) as f32
        };
        for i in (1..order.len()).rev() {
            order.swap(i, (next() * (i + 1) as f32) as usize % (i + 1));
        }
        let (mut likelihood, mut count) = (0.0, 0);
        for &i in &order {
            let example = &examples[i];
            let all = tokens(&example.text);
            for range in sequences(&example.text, &all) {
                let part = &all[range];
                let mut rows = features(&example.text, part, lexicon);
                for token in &mut rows {
                    let kept = next();
                    if kept < settings.context_dropout * 0.3 {
                        token.rows.truncate(token.neighbours);
                    } else if kept < settings.context_dropout {
                        token.rows.truncate(token.context);
                    }
                    if next() < settings.dropout {
                        token.rows.drain(..token.identity);
                    }
                }
                let allowed: Vec<u8> = part
                    .iter()
                    .map(|t| {
                        let span = example.spans.iter().find(|(s, _)| s.start < t.end && t.start < s.end);
                        span.map_or(1, |(_, tag)| tag.map_or(u8::MAX, |tag| 1 << tag))
                    })
                    .collect();
                likelihood += trainer.step(&rows, &allowed);
                count += part.len();
            }
        }
        progress(epoch, likelihood / count.max(1) as f64);
    }
    write(&trainer.weights, &trainer.transitions, shipped)
}

impl Trainer {
    /// Follows the gradient of one sequence, and returns the log of the probability of its tags, token by token.
    fn step(&mut self, rows: &[Features], allowed: &[u8]) -> f64 {
        let scores: Vec<Scores> = rows
            .iter()
            .map(|f| {
                let mut out = [0.0; TAGS];
                for &row in &f.rows {
                    let at = row as usize * COLUMNS;
                    out[1..].iter_mut().zip(&self.weights[at..at + COLUMNS]).for_each(|(o, w)| *o += w);
                }
                out
            })
            .collect();
        let free = marginals(&scores, &self.transitions, None);
        let held = marginals(&scores, &self.transitions, Some(allowed));
        let mut likelihood = 0.0;
        for ((f, free), (held, allowed)) in rows.iter().zip(&free.tags).zip(held.tags.iter().zip(allowed)) {
            let right: f32 = (0..TAGS).filter(|tag| allowed >> tag & 1 == 1).map(|tag| free[tag]).sum();
            likelihood += f64::from(right.max(1e-9).ln());
            for tag in 1..TAGS {
                let gradient = held[tag] - free[tag];
                if gradient.abs() > 1e-3 {
                    for &row in &f.rows {
                        let at = row as usize * COLUMNS + tag - 1;
                        self.squares[at] += gradient * gradient;
                        self.weights[at] += self.rate * gradient / self.squares[at].sqrt();
                    }
                }
            }
        }
        for a in 0..TAGS {
            for b in 0..TAGS {
                let gradient = held.transitions[a][b] - free.transitions[a][b];
                self.transition_squares[a][b] += gradient * gradient;
                self.transitions[a][b] += self.rate * gradient / self.transition_squares[a][b].sqrt();
            }
        }
        likelihood
    }
}
