//! The rotary embedding in GGUF: the keys below `ARCH.rope.`, and tensors with lists of divisors.

use honelm_formats::TensorSource;
use honelm_formats::gguf::Value;
use serde_json::{Map, Value as Json};

use super::{Metadata, Reader, count_of, head_width};
use crate::error::refused;
use crate::fields::Fields;
use crate::rope::{LongRope, RopeConfig, RopeScaling, RopeShape, THETA, Yarn, magnitude_of};
use crate::{Blueprint, ModelError, arch};

const BASE: &str = "rope.freq_base";
const ROTATED: &str = "rope.dimension_count";
const TYPE: &str = "rope.scaling.type";
const FACTOR: &str = "rope.scaling.factor";
/// The key of files from 2023, instead of type and factor.
const OLD_FACTOR: &str = "rope.scale_linear";
const ORIGINAL_CONTEXT: &str = "rope.scaling.original_context_length";
/// The factor on the magnitude that readers compute: 1 for longrope, 1 + 0.1 ln(factor) for yarn.
const MAGNITUDE: &str = "rope.scaling.attn_factor";
/// The complete magnitude, as converters write it.
const YARN_MAGNITUDE: &str = "rope.scaling.yarn_attn_factor";
/// `mscale_all_dim`, beside an `mscale` of 1.
const YARN_LOG: &str = "rope.scaling.yarn_log_multiplier";
const YARN_EXTRAPOLATION: &str = "rope.scaling.yarn_ext_factor";
const BETA_FAST: &str = "rope.scaling.yarn_beta_fast";
const BETA_SLOW: &str = "rope.scaling.yarn_beta_slow";

/// All keys.
pub(super) const KEYS: &[&str] = &[
    BASE,
    ROTATED,
    TYPE,
    FACTOR,
    OLD_FACTOR,
    ORIGINAL_CONTEXT,
    MAGNITUDE,
    YARN_MAGNITUDE,
    YARN_LOG,
    YARN_EXTRAPOLATION,
    BETA_FAST,
    BETA_SLOW,
];

const DIVISORS: &str = "rope_freqs.weight";
const LONG: &str = "rope_factors_long.weight";
const SHORT: &str = "rope_factors_short.weight";

/// Returns the tensors that are part of the configuration, in F32.
pub(crate) fn tensors(blueprint: &Blueprint) -> Result<Vec<(&'static str, Vec<f32>)>, ModelError> {
    if !arch::family_of(blueprint).rope {
        return Ok(Vec::new());
    }
    let (rope, _) = of(&blueprint.definition.config())?;
    let narrow = |list: &[f64]| list.iter().map(|&x| x as f32).collect();
    Ok(match &rope.scaling {
        RopeScaling::LongRope(rope) => vec![(LONG, narrow(&rope.long)), (SHORT, narrow(&rope.short))],
        _ => rope.divisors().map(|divisors| (DIVISORS, divisors)).into_iter().collect(),
    })
}

/// Returns `true` if a tensor is part of the configuration.
pub(crate) fn is_configuration(tensor: &str) -> bool {
    // Some converters of 2023 wrote the unscaled frequencies of each layer.
    [DIVISORS, LONG, SHORT].contains(&tensor) || tensor.ends_with(".attn_rot_embd.weight")
}

/// Reads the rotary embedding that an architecture has written to `config`.
fn of(config: &Map<String, Json>) -> Result<(RopeConfig, RopeShape), ModelError> {
    let shape = shape(config);
    let json = Json::Object(config.clone());
    let mut fields = Fields::new("the configuration", &json)?;
    Ok((RopeConfig::parse(&mut fields, &shape)?, shape))
}

fn shape(config: &Map<String, Json>) -> RopeShape {
    RopeShape {
        head_width: head_width(config).unwrap_or(0),
        context: count_of(config, "max_position_embeddings").unwrap_or(0),
        theta: THETA,
        partial: true,
    }
}

/// Adds the keys of the rotary embedding of `config`.
pub(super) fn write(config: &Map<String, Json>, out: &mut Metadata) -> Result<(), ModelError> {
    let (rope, _) = of(config)?;
    let mut number = |key: &'static str, x: f64| out.push((key, (x as f32).into()));
    number(BASE, rope.theta);
    let original = match &rope.scaling {
        RopeScaling::Unscaled | RopeScaling::Llama3 { .. } | RopeScaling::Divisors(_) => None,
        RopeScaling::Linear { factor } => {
            number(FACTOR, *factor);
            None
        }
        RopeScaling::Dynamic { .. } => {
            let problem =
                "GGUF has no key for it; without rope_scaling the model is the same up to its trained context";
            return Err(refused("dynamic rope scaling", "GGUF", problem));
        }
        RopeScaling::Yarn(yarn) => {
            if !yarn.truncate {
                return Err(refused("yarn scaling with truncate off", "GGUF", "it has no key for that"));
            }
            number(FACTOR, yarn.factor);
            number(BETA_FAST, yarn.beta_fast);
            number(BETA_SLOW, yarn.beta_slow);
            let usual = magnitude_of(yarn.factor, 1.0);
            if yarn.magnitude != usual {
                number(MAGNITUDE, yarn.magnitude / usual);
            }
            Some(yarn.original_context)
        }
        RopeScaling::LongRope(long) => {
            number(MAGNITUDE, long.magnitude);
            Some(long.original_context)
        }
    };
    if matches!(rope.scaling, RopeScaling::Linear { .. } | RopeScaling::Yarn(_) | RopeScaling::LongRope(_)) {
        out.push((TYPE, rope.scaling.name().into()));
    }
    let mut count = |key, n: usize| out.extend(u32::try_from(n).ok().map(|n| (key, n.into())));
    count(ROTATED, rope.rotated);
    if let Some(original) = original {
        count(ORIGINAL_CONTEXT, original);
    }
    Ok(())
}

impl Reader<'_> {
    /// Adds the fields of the file's rotary embedding.
    pub(super) fn rope(&self, config: &mut Map<String, Json>) -> Result<(), ModelError> {
        let shape = shape(config);
        let rotated = match self.value(ROTATED) {
            None => shape.head_width,
            Some(value) => {
                let fits = |n: &usize| n.is_multiple_of(2) && (1..=shape.head_width).contains(n);
                let own = value.integer().and_then(|n| usize::try_from(n).ok()).filter(fits);
                own.ok_or_else(|| self.invalid(ROTATED, value, format!("an even part of {} values", shape.head_width)))?
            }
        };
        let theta = self.number(BASE)?.unwrap_or(shape.theta);
        let divisors = self.divisors(DIVISORS, rotated)?;
        let lists = (self.divisors(SHORT, rotated)?, self.divisors(LONG, rotated)?);
        let kind = self.gguf.get_str(&self.key(TYPE))?;
        let scaling = match (kind, lists) {
            // Converters of Phi-3 omit the type.
            (None | Some("longrope"), (Some(short), Some(long))) => {
                RopeScaling::LongRope(self.long_rope(short, long, &shape)?)
            }
            (None, _) => match self.number(OLD_FACTOR)?.or(self.number(FACTOR)?).filter(|&f| f != 1.0 && f != 0.0) {
                Some(factor) => RopeScaling::Linear { factor },
                None => RopeScaling::Unscaled,
            },
            (Some("none"), _) => RopeScaling::Unscaled,
            (Some("linear"), _) => match self.number(FACTOR)?.unwrap_or(1.0) {
                1.0 => RopeScaling::Unscaled,
                factor => RopeScaling::Linear { factor },
            },
            (Some("yarn"), _) => RopeScaling::Yarn(self.yarn(&shape)?),
            (Some(other), _) => {
                return Err(self.invalid(TYPE, &other.into(), "none, linear, yarn, or longrope with its two tensors"));
            }
        };
        let scales_magnitude = matches!(scaling, RopeScaling::Yarn(_) | RopeScaling::LongRope(_));
        if let Some(value) = self.value(MAGNITUDE).filter(|value| !scales_magnitude && **value != Value::F32(1.0)) {
            return Err(self.invalid(MAGNITUDE, value, "1 without yarn or longrope"));
        }
        let rope = match (divisors, scaling) {
            (None, scaling) => RopeConfig { theta, rotated, scaling },
            (Some(divisors), RopeScaling::Unscaled) => RopeConfig::from_divisors(theta, divisors),
            (Some(_), other) => {
                return Err(self.invalid(TYPE, &other.name().into(), "none, because the file has rope_freqs.weight"));
            }
        };
        rope.write(&shape, config);
        Ok(())
    }

    fn long_rope(&self, short: Vec<f32>, long: Vec<f32>, shape: &RopeShape) -> Result<LongRope, ModelError> {
        let wide = |list: Vec<f32>| list.into_iter().map(super::shortest).collect();
        Ok(LongRope {
            short: wide(short),
            long: wide(long),
            original_context: self.original_context(shape)?,
            magnitude: self.number(MAGNITUDE)?.unwrap_or(1.0),
        })
    }

    fn yarn(&self, shape: &RopeShape) -> Result<Yarn, ModelError> {
        if let Some(value) = self.value(YARN_EXTRAPOLATION).filter(|value| **value != Value::F32(1.0)) {
            return Err(self.invalid(YARN_EXTRAPOLATION, value, "1"));
        }
        let factor = self.number(FACTOR)?.unwrap_or(1.0);
        let usual = magnitude_of(factor, 1.0) / self.number(YARN_LOG)?.map_or(1.0, |all| magnitude_of(factor, all));
        let own = self.number(MAGNITUDE)?.map(|part| f64::from((part * usual) as f32));
        Ok(Yarn {
            factor,
            beta_fast: self.number(BETA_FAST)?.unwrap_or(32.0),
            beta_slow: self.number(BETA_SLOW)?.unwrap_or(1.0),
            original_context: self.original_context(shape)?,
            truncate: true,
            magnitude: own.or(self.number(YARN_MAGNITUDE)?).unwrap_or(usual),
        })
    }

    fn original_context(&self, shape: &RopeShape) -> Result<usize, ModelError> {
        let own = self.count(ORIGINAL_CONTEXT)?.and_then(|n| usize::try_from(n).ok());
        Ok(own.unwrap_or(shape.context))
    }

    /// Reads a tensor of divisors; `None` if the file has none. // [R / 2]
    fn divisors(&self, tensor: &str, rotated: usize) -> Result<Option<Vec<f32>>, ModelError> {
        if !self.gguf.contains(tensor) {
            return Ok(None);
        }
        let matrix = self.gguf.matrix(tensor)?;
        if (matrix.rows, matrix.cols) != (1, rotated / 2) {
            let (file, found) = (self.gguf.file().to_owned(), vec![matrix.rows, matrix.cols]);
            let (tensor, expected) = (tensor.to_owned(), vec![rotated / 2]);
            return Err(ModelError::WrongShape { file, tensor, found, expected });
        }
        let mut divisors = vec![0.0; matrix.cols];
        matrix.dequantize_row(0, &mut divisors);
        Ok(Some(divisors))
    }
}
