//! Rotary position embedding: which frequencies a configuration means.
//!
//! Su et al. 2021; the scalings as transformers' `modeling_rope_utils` defines them.

use serde_json::{Map, Value as Json, json};

use honelm_backend::{Backend, BackendError, Rope};

use crate::ModelError;
use crate::fields::Fields;

/// Base of the frequencies where a configuration has none.
const DEFAULT_THETA: f64 = 10_000.0;

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
    /// Llama 3.1: wavelengths above `original_context / low` divided by `factor`, those below
    /// `original_context / high` kept, a blend in between.
    Llama3 {
        /// Context extension.
        factor: f64,
        /// Original contexts that fit the longest kept wavelength's band.
        low: f64,
        /// Original contexts that fit the shortest blended wavelength's band.
        high: f64,
        /// Tokens of the original context.
        original_context: usize,
    },
    /// Each frequency divided by its own number (GGUF's `rope_freqs.weight`). // [E / 2]
    Divisors(Vec<f32>),
}

/// The rotary embedding of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base: frequency i is `theta^(-2i / E)`.
    pub theta: f64,
    /// Change of the frequencies.
    pub scaling: RopeScaling,
}

impl RopeConfig {
    /// Reads `rope_theta` with `rope_scaling`, or transformers 5's `rope_parameters`.
    pub(crate) fn parse(fields: &mut Fields<'_>) -> Result<Self, ModelError> {
        let outer = fields.optional_number("rope_theta")?;
        let (new, old) = (fields.object("rope_parameters")?, fields.object("rope_scaling")?);
        if new.is_some() && old.is_some() {
            return Err(fields.wrong("rope_scaling", &json!("an object beside rope_parameters"), "one of the two"));
        }
        let Some(mut inner) = new.or(old) else {
            return Ok(Self { theta: outer.unwrap_or(DEFAULT_THETA), scaling: RopeScaling::Unscaled });
        };
        let theta = match (outer, inner.optional_number("rope_theta")?) {
            (Some(a), Some(b)) if a != b => return Err(inner.wrong("rope_theta", &json!(b), a.to_string())),
            (a, b) => b.or(a).unwrap_or(DEFAULT_THETA),
        };
        inner.only("partial_rotary_factor", &json!(1))?;
        let scaling = RopeScaling::parse(&mut inner)?;
        inner.finish(&[])?;
        Ok(Self { theta, scaling })
    }

    /// The fields that [`RopeConfig::parse`] reads, in the form that all versions of transformers understand.
    pub(crate) fn write(&self, config: &mut Map<String, Json>) {
        config.insert("rope_theta".to_owned(), json!(self.theta));
        let scaling = match &self.scaling {
            RopeScaling::Unscaled => return,
            RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            RopeScaling::Llama3 { factor, low, high, original_context } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original_context,
            }),
            RopeScaling::Divisors(divisors) => json!({"rope_type": "divisors", "divisors": divisors}),
        };
        config.insert("rope_scaling".to_owned(), scaling);
    }

    /// What each frequency of a head of `width` values is divided by, where that is not the same for all. // [E / 2]
    #[must_use]
    pub fn divisors(&self, width: usize) -> Option<Vec<f32>> {
        match &self.scaling {
            RopeScaling::Unscaled | RopeScaling::Linear { .. } => None,
            RopeScaling::Divisors(divisors) => Some(divisors.clone()),
            RopeScaling::Llama3 { factor, low, high, original_context } => {
                let divisor = |frequency: f64| {
                    // Wavelengths in the original context.
                    let turns = *original_context as f64 * frequency / std::f64::consts::TAU;
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 / ((1.0 - keep) / factor + keep)) as f32
                };
                Some(self.base(width).map(divisor).collect())
            }
        }
    }

    /// Inverse frequencies of a head of `width` values, scaling applied. // [E / 2]
    #[must_use]
    pub fn inverse_frequencies(&self, width: usize) -> Vec<f32> {
        match (&self.scaling, self.divisors(width)) {
            (RopeScaling::Linear { factor }, _) => self.base(width).map(|f| (f / factor) as f32).collect(),
            (_, None) => self.base(width).map(|f| f as f32).collect(),
            (_, Some(divisors)) => self.base(width).zip(divisors).map(|(f, d)| (f / f64::from(d)) as f32).collect(),
        }
    }

    fn base(&self, width: usize) -> impl Iterator<Item = f64> {
        let theta = self.theta;
        (0..width / 2).map(move |i| theta.powf(-((2 * i) as f64) / width as f64))
    }

    /// Uploads the frequencies for heads of `width` values.
    pub(crate) fn bind(&self, width: usize, b: &mut dyn Backend) -> Result<Rope, BackendError> {
        let inverse_frequencies = b.upload_vector(&self.inverse_frequencies(width))?;
        Ok(Rope { inverse_frequencies, head_width: width, magnitude: 1.0 })
    }

    /// The scaling behind the divisors of a GGUF file: Llama 3.1's where they are its own, else themselves.
    pub(crate) fn from_divisors(theta: f64, divisors: Vec<f32>) -> Self {
        let factor = divisors.iter().copied().fold(1.0, f32::max);
        // What every published model with this scaling has.
        let scaling = RopeScaling::Llama3 { factor: f64::from(factor), low: 1.0, high: 4.0, original_context: 8192 };
        let published = Self { theta, scaling };
        let close = |(a, b): (&f32, f32)| (a - b).abs() <= 1e-5 * b;
        match published.divisors(2 * divisors.len()) {
            Some(own) if divisors.iter().zip(own.iter().copied()).all(close) => published,
            _ => Self { theta, scaling: RopeScaling::Divisors(divisors) },
        }
    }
}

impl RopeScaling {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, ModelError> {
        let (new, old) = (fields.text("rope_type")?, fields.text("type")?);
        if let (Some(new), Some(old)) = (new, old)
            && new != old
        {
            return Err(fields.wrong("type", &json!(old), format!("{new:?}, as rope_type says")));
        }
        match new.or(old).unwrap_or("default") {
            "default" => Ok(Self::Unscaled),
            "linear" => Ok(Self::Linear { factor: fields.number("factor")? }),
            "llama3" => {
                let (low, high) = (fields.number("low_freq_factor")?, fields.number("high_freq_factor")?);
                if high <= low {
                    return Err(fields.wrong("high_freq_factor", &json!(high), format!("more than {low}")));
                }
                let original_context = fields.count("original_max_position_embeddings", 1 << 30)?;
                Ok(Self::Llama3 { factor: fields.number("factor")?, low, high, original_context })
            }
            "divisors" => {
                let list = fields.value("divisors").and_then(Json::as_array).cloned().unwrap_or_default();
                let number = |v: &Json| v.as_f64().map(|x| x as f32).filter(|x| x.is_finite() && *x > 0.0);
                let divisors = list.iter().map(number).collect::<Option<Vec<f32>>>();
                let divisors = divisors.filter(|d| !d.is_empty());
                divisors.map(Self::Divisors).ok_or_else(|| fields.missing("divisors", "numbers above 0"))
            }
            other => Err(fields.wrong("rope_type", &json!(other), "default, linear or llama3")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: Json) -> Result<RopeConfig, ModelError> {
        let mut fields = Fields::new("config.json", &json)?;
        RopeConfig::parse(&mut fields)
    }

    fn llama3() -> Json {
        json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192})
    }

    #[test]
    fn both_generations_of_configurations_mean_the_same() {
        let old = parse(json!({"rope_theta": 5e5, "rope_scaling": llama3()})).expect("old");
        let mut inner = llama3();
        inner["rope_theta"] = json!(5e5);
        assert_eq!(parse(json!({"rope_parameters": inner})).expect("new"), old);
        let mut older = llama3();
        older["type"] = json!("llama3");
        assert_eq!(parse(json!({"rope_theta": 5e5, "rope_scaling": older})).expect("older"), old);
        let mut written = Map::new();
        old.write(&mut written);
        assert_eq!(parse(Json::Object(written)).expect("own form"), old);
    }

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        let rope = parse(json!({"rope_theta": 5e5, "rope_scaling": llama3()})).expect("llama3");
        let divisors = rope.divisors(64).expect("divisors");
        assert_eq!((divisors[0], divisors[31]), (1.0, 32.0));
        assert!(divisors.windows(2).all(|d| d[0] <= d[1]));
        let plain = RopeConfig { theta: 5e5, scaling: RopeScaling::Unscaled };
        let (a, b) = (rope.inverse_frequencies(64), plain.inverse_frequencies(64));
        assert_eq!(a[0], b[0]);
        assert!((a[31] * 32.0 / b[31] - 1.0).abs() < 1e-6);
        // From a GGUF file only the divisors come: the published parameters are found again.
        assert_eq!(RopeConfig::from_divisors(5e5, divisors.clone()), rope);
        let mut other = divisors;
        other[20] *= 1.5;
        assert!(matches!(RopeConfig::from_divisors(5e5, other).scaling, RopeScaling::Divisors(_)));
    }

    #[test]
    fn linear_scaling_divides_every_frequency() {
        let rope = parse(json!({"rope_scaling": {"type": "linear", "factor": 4.0}})).expect("linear");
        let plain = parse(json!({})).expect("default");
        let (a, b) = (rope.inverse_frequencies(16), plain.inverse_frequencies(16));
        assert!(a.iter().zip(&b).all(|(a, b)| (a * 4.0 - b).abs() <= 1e-6 * b));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (json, name) in [
            (json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), "yarn"),
            (json!({"rope_scaling": {"type": "dynamic", "factor": 4.0}}), "dynamic"),
            (json!({"rope_scaling": {"type": "linear", "rope_type": "llama3"}}), "type"),
            (json!({"rope_scaling": {"rope_type": "linear"}}), "factor"),
            (json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "beta_fast": 32}}), "beta_fast"),
            (json!({"rope_parameters": {"partial_rotary_factor": 0.5}}), "partial_rotary_factor"),
            (json!({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 2e4}}), "rope_theta"),
            (json!({"rope_theta": -1.0}), "rope_theta"),
            (json!({"rope_scaling": "linear"}), "rope_scaling"),
            (json!({"rope_scaling": {}, "rope_parameters": {}}), "rope_scaling"),
        ] {
            let error = parse(json.clone()).expect_err("must be refused");
            assert!(error.to_string().contains(name), "{json}: {error}");
        }
    }
}
