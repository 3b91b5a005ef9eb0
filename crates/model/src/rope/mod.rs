//! Rotary position embedding: which frequencies a configuration means.
//!
//! Su et al. 2021; the scalings as transformers' `modeling_rope_utils` defines them, fixed once for a session by the longest
//! sequence that it may hold. For `longrope` that is what transformers does too, with the length of the sequence in the place of
//! the limit. **Dynamic** scaling differs: transformers changes the frequencies whenever the sequence grows beyond what it saw before,
//! and leaves the keys in its cache as they were, so that a token's state depends on how the sequence was fed. Here every
//! position has the frequencies that transformers takes for a sequence as long as the session's limit. A session whose
//! limit is the trained context computes as if there were no scaling.

mod config;
#[cfg(test)]
mod tests;

use honelm_backend::{Backend, BackendError, Rope};

pub(crate) use config::{RopeShape, THETA, magnitude_of};

/// How the frequencies are changed for contexts beyond the trained one.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Unscaled,
    /// All divided by `factor`.
    Linear {
        /// Context extension.
        factor: f64,
    },
    /// A larger base, by how far the session's limit is beyond the trained context (NTK-aware scaling).
    Dynamic {
        /// Strength: at `n` trained contexts the base grows as if for `factor * n - (factor - 1)`.
        factor: f64,
        /// Tokens of the trained context.
        original_context: usize,
    },
    /// Peng et al. 2023.
    Yarn(Yarn),
    /// Ding et al. 2024.
    LongRope(LongRope),
    /// Llama 3.1: wavelengths above `original_context / low` divided by `factor`, those below
    /// `original_context / high` kept, a blend in between.
    Llama3 {
        /// Context extension.
        factor: f64,
        /// Original contexts that fit the longest kept wavelength's band.
        low: f64,
        /// Original contexts that fit the shortest blended wavelength's band.
        high: f64,
        /// Tokens of the trained context.
        original_context: usize,
    },
    /// Each frequency divided by its own number (GGUF's `rope_freqs.weight`). // [R / 2]
    Divisors(Vec<f32>),
}

/// Frequencies that turn more than `beta_fast` times in the trained context are kept, those that turn less than `beta_slow`
/// times divided by `factor`, a blend in between.
#[derive(Debug, Clone, PartialEq)]
pub struct Yarn {
    /// Context extension.
    pub factor: f64,
    /// Turns from which on a frequency is kept.
    pub beta_fast: f64,
    /// Turns below which a frequency is divided.
    pub beta_slow: f64,
    /// Tokens of the trained context.
    pub original_context: usize,
    /// Whether the ends of the blend are moved to whole frequency numbers.
    pub truncate: bool,
    /// Factor on sine and cosine.
    pub magnitude: f64,
}

/// Each frequency divided by its own number, of two lists.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// For sessions of up to the trained context. // [R / 2]
    pub short: Vec<f64>,
    /// For longer ones. // [R / 2]
    pub long: Vec<f64>,
    /// Tokens of the trained context.
    pub original_context: usize,
    /// Factor on sine and cosine.
    pub magnitude: f64,
}

/// The rotary embedding of a model's layers.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base: frequency i is `theta^(-2i / R)`.
    pub theta: f64,
    /// Values of a head that are rotated (R), from its first on; the rest pass.
    pub rotated: usize,
    /// Change of the frequencies.
    pub scaling: RopeScaling,
}

/// A rotary embedding as a session uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// Angle a position, for each rotated pair. // [R / 2]
    pub inverse_frequencies: Vec<f32>,
    /// Factor on sine and cosine.
    pub magnitude: f32,
}

impl RopeConfig {
    /// What sessions of up to `context` tokens use.
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

    /// The longest sequence of a model whose configuration allows `context` tokens: scalings that name the trained
    /// context and a factor reach further than configurations always say.
    pub(crate) fn limit(&self, context: usize) -> usize {
        let (factor, trained) = match &self.scaling {
            RopeScaling::Dynamic { factor, original_context } => (*factor, *original_context),
            RopeScaling::Yarn(yarn) => (yarn.factor, yarn.original_context),
            _ => return context,
        };
        // Saturates where the factor is absurd.
        context.max((trained as f64 * factor) as usize).min(crate::arch::limits::CONTEXT)
    }

    /// The divisors of a Llama 3.1 scaling or of a file that has its own. // [R / 2]
    #[must_use]
    pub fn divisors(&self) -> Option<Vec<f32>> {
        match &self.scaling {
            RopeScaling::Divisors(divisors) => Some(divisors.clone()),
            RopeScaling::Llama3 { factor, low, high, original_context } => {
                let divisor = |frequency: f64| {
                    // Wavelengths in the original context.
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

    /// Unscaled frequencies of a base. // [R / 2]
    fn base(&self, theta: f64) -> impl Iterator<Item = f64> + use<> {
        let rotated = self.rotated;
        (0..rotated / 2).map(move |i| theta.powf(-((2 * i) as f64) / rotated as f64))
    }

    /// Uploads the frequencies for heads of `head_width` values in sessions of up to `context` tokens.
    pub(crate) fn bind(&self, head_width: usize, context: usize, b: &mut dyn Backend) -> Result<Rope, BackendError> {
        let Rotation { inverse_frequencies, magnitude } = self.rotation(context);
        Ok(Rope { inverse_frequencies: b.upload_vector(&inverse_frequencies)?, head_width, magnitude })
    }

    /// The scaling behind the divisors of a GGUF file: Llama 3.1's where they are its own, else themselves.
    pub(crate) fn from_divisors(theta: f64, divisors: Vec<f32>) -> Self {
        let rotated = 2 * divisors.len();
        let factor = divisors.iter().copied().fold(1.0, f32::max);
        // What every published model with this scaling has.
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
    /// How much of frequency `i` of a head that rotates `rotated` values is kept, 0 to 1.
    fn kept(&self, theta: f64, rotated: usize) -> impl Fn(usize) -> f64 + use<> {
        let n = rotated as f64;
        // The number (not whole) of the frequency that turns so often in the trained context.
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
