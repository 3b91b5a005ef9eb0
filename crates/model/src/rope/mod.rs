//! Rotary position embedding (Su et al. 2021): the frequencies that a configuration describes.
//!
//! The scalings are those of transformers' `modeling_rope_utils`. The frequencies are chosen once per session, for the
//! longest sequence that the session allows; transformers chooses those of `longrope` in the same way, by the length of
//! the sequence. **Dynamic** scaling differs: transformers changes the frequencies when a sequence grows, but not the keys
//! in its cache, so that results depend on the division of the sequence into steps. Here, every position has the
//! frequencies that transformers uses for a sequence as long as the session's limit. If that limit is the trained
//! context, there is no scaling.

mod config;
#[cfg(test)]
mod tests;

use honelm_backend::{Backend, BackendError, Rope};

pub(crate) use config::{RopeShape, THETA, magnitude_of};

/// A change of the frequencies for contexts beyond the trained one.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// No change.
    Unscaled,
    /// Division of all frequencies by `factor`.
    Linear {
        /// The extension of the context.
        factor: f64,
    },
    /// NTK-aware scaling: a base that grows with the ratio of the session's limit to the trained context.
    Dynamic {
        /// The strength: at `n` trained contexts the base grows as for the ratio `factor * n - (factor - 1)`.
        factor: f64,
        /// The trained context in tokens.
        original_context: usize,
    },
    /// YaRN (Peng et al. 2023).
    Yarn(Yarn),
    /// LongRoPE (Ding et al. 2024).
    LongRope(LongRope),
    /// The scaling of Llama 3.1: frequencies with wavelengths above `original_context / low` are divided by `factor`, those
    /// with wavelengths below `original_context / high` are kept, and those in between are blended.
    Llama3 {
        /// The extension of the context.
        factor: f64,
        /// The trained context divided by the wavelength at which the blend ends.
        low: f64,
        /// The trained context divided by the wavelength at which the blend begins.
        high: f64,
        /// The trained context in tokens.
        original_context: usize,
    },
    /// Division of each frequency by its own number (GGUF's `rope_freqs.weight`). // [R / 2]
    Divisors(Vec<f32>),
}

/// The settings of YaRN: frequencies with more than `beta_fast` turns in the trained context are kept, those with fewer
/// than `beta_slow` turns are divided by `factor`, and those in between are blended.
#[derive(Debug, Clone, PartialEq)]
pub struct Yarn {
    /// The extension of the context.
    pub factor: f64,
    /// The number of turns above which a frequency is kept.
    pub beta_fast: f64,
    /// The number of turns below which a frequency is divided.
    pub beta_slow: f64,
    /// The trained context in tokens.
    pub original_context: usize,
    /// `true` if the ends of the blend are rounded to whole frequency numbers.
    pub truncate: bool,
    /// The factor on sine and cosine.
    pub magnitude: f64,
}

/// The settings of LongRoPE: each frequency is divided by its own number from one of two lists.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// The divisors for sessions of up to the trained context. // [R / 2]
    pub short: Vec<f64>,
    /// The divisors for longer sessions. // [R / 2]
    pub long: Vec<f64>,
    /// The trained context in tokens.
    pub original_context: usize,
    /// The factor on sine and cosine.
    pub magnitude: f64,
}

/// The settings of a rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// The base: frequency i is `theta^(-2i / R)`.
    pub theta: f64,
    /// The number of rotated values of a head (R), from its first one; the others are not changed.
    pub rotated: usize,
    /// The change of the frequencies.
    pub scaling: RopeScaling,
}

/// The frequencies of a rotary embedding in a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// The angle per position of each rotated pair. // [R / 2]
    pub inverse_frequencies: Vec<f32>,
    /// The factor on sine and cosine.
    pub magnitude: f32,
}

impl RopeConfig {
    /// Returns the frequencies for sessions of up to `context` tokens.
    #[must_use]
    pub fn rotation(&self, context: usize) -> Rotation {
        let magnitude = match &self.scaling {
            RopeScaling::Yarn(yarn) => yarn.magnitude,
            RopeScaling::LongRope(long) => long.magnitude,
            _ => 1.0,
        };
        let inverse_frequencies = self.frequencies(context).into_iter().map(|f| f as f32).collect();
        Rotation { inverse_frequencies, magnitude: magnitude as f32 }
    }

    /// Returns the longest sequence of a model whose configuration gives `context` tokens. A scaling with a trained context
    /// and a factor can allow more than the configuration says.
    pub(crate) fn limit(&self, context: usize) -> usize {
        let (factor, trained) = match &self.scaling {
            RopeScaling::Dynamic { factor, original_context } => (*factor, *original_context),
            RopeScaling::Yarn(yarn) => (yarn.factor, yarn.original_context),
            _ => return context,
        };
        // The cast saturates for absurd factors.
        context.max((trained as f64 * factor) as usize).min(crate::limits::CONTEXT)
    }

    /// Returns the divisors of [`RopeScaling::Llama3`] or [`RopeScaling::Divisors`]. // [R / 2]
    #[must_use]
    pub fn divisors(&self) -> Option<Vec<f32>> {
        match &self.scaling {
            RopeScaling::Divisors(divisors) => Some(divisors.clone()),
            RopeScaling::Llama3 { factor, low, high, original_context } => {
                let divisor = |frequency: f64| {
                    // The number of wavelengths in the trained context.
                    let turns = *original_context as f64 * frequency / std::f64::consts::TAU;
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 / ((1.0 - keep) / factor + keep)) as f32
                };
                Some(self.base(self.theta).map(divisor).collect())
            }
            _ => None,
        }
    }

    fn frequencies(&self, context: usize) -> Vec<f64> {
        let plain = self.base(self.theta);
        match &self.scaling {
            RopeScaling::Unscaled => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
            RopeScaling::Dynamic { factor, original_context } => {
                let (trained, rotated) = (*original_context as f64, self.rotated as f64);
                let contexts = (context as f64).max(trained) / trained;
                let growth = (factor * contexts - (factor - 1.0)).powf(rotated / (rotated - 2.0));
                self.base(self.theta * growth).collect()
            }
            RopeScaling::Yarn(yarn) => {
                let keep = yarn.kept(self.theta, self.rotated);
                let blend = |(i, f): (usize, f64)| f / yarn.factor * (1.0 - keep(i)) + f * keep(i);
                plain.enumerate().map(blend).collect()
            }
            RopeScaling::LongRope(long) => {
                let divisors = if context > long.original_context { &long.long } else { &long.short };
                plain.zip(divisors).map(|(f, d)| f / d).collect()
            }
            RopeScaling::Llama3 { .. } | RopeScaling::Divisors(_) => {
                let divisors = self.divisors().unwrap_or_default();
                plain.zip(divisors).map(|(f, d)| f / f64::from(d)).collect()
            }
        }
    }

    /// Returns the unscaled frequencies of a base. // [R / 2]
    fn base(&self, theta: f64) -> impl Iterator<Item = f64> + use<> {
        let rotated = self.rotated;
        (0..rotated / 2).map(move |i| theta.powf(-((2 * i) as f64) / rotated as f64))
    }

    /// Uploads the frequencies for heads of `head_width` values in sessions of up to `context` tokens.
    pub(crate) fn bind(&self, head_width: usize, context: usize, b: &mut dyn Backend) -> Result<Rope, BackendError> {
        let Rotation { inverse_frequencies, magnitude } = self.rotation(context);
        Ok(Rope { inverse_frequencies: b.upload_vector(&inverse_frequencies)?, head_width, magnitude })
    }

    /// Returns the settings with the divisors of a GGUF file, as [`RopeScaling::Llama3`] if that gives the same divisors.
    pub(crate) fn from_divisors(theta: f64, divisors: Vec<f32>) -> Self {
        let rotated = 2 * divisors.len();
        let factor = divisors.iter().copied().fold(1.0, f32::max);
        // The values of all published models with this scaling.
        let scaling = RopeScaling::Llama3 { factor: f64::from(factor), low: 1.0, high: 4.0, original_context: 8192 };
        let published = Self { theta, rotated, scaling };
        let close = |(a, b): (&f32, f32)| (a - b).abs() <= 1e-5 * b;
        match published.divisors() {
            Some(own) if divisors.iter().zip(own.iter().copied()).all(close) => published,
            _ => Self { theta, rotated, scaling: RopeScaling::Divisors(divisors) },
        }
    }
}

impl Yarn {
    /// Returns the weight of the unscaled frequency in the blend, 0 to 1, as a function of the frequency's number.
    fn kept(&self, theta: f64, rotated: usize) -> impl Fn(usize) -> f64 + use<> {
        let n = rotated as f64;
        // The fractional number of the frequency with so many turns in the trained context.
        let number =
            |turns: f64| n * (self.original_context as f64 / (turns * std::f64::consts::TAU)).ln() / (2.0 * theta.ln());
        let (mut low, mut high) = (number(self.beta_fast), number(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(n - 1.0));
        if low == high {
            high += 0.001;
        }
        move |i| 1.0 - ((i as f64 - low) / (high - low)).clamp(0.0, 1.0)
    }
}
