//! Reading and writing of the fields of config.json, in both generations: `rope_theta` with `rope_scaling`, and the
//! `rope_parameters` of transformers 5.

use serde_json::{Map, Value as Json, json};

use super::{LongRope, RopeConfig, RopeScaling, Yarn};
use crate::ModelError;
use crate::fields::Fields;
use crate::limits;

/// The default of `rope_theta` in most architectures.
pub(crate) const THETA: f64 = 10_000.0;

/// Fields that no scaling reads, only yarn, or only some implementations (see `disputed`).
const UNUSED: &[&str] = &["attn_factor", "finetuned", "truncate"];

/// The settings outside of its own fields that a rotary embedding depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RopeShape {
    /// The width of a head (E).
    pub head_width: usize,
    /// `max_position_embeddings`.
    pub context: usize,
    /// The default of the base.
    pub theta: f64,
    /// `true` if the architecture can rotate a part of each head. For other architectures transformers ignores the setting.
    pub partial: bool,
}

/// Returns YaRN's factor on sine and cosine for a context extension of `factor`.
pub(crate) fn magnitude_of(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

/// Returns LongRoPE's factor on sine and cosine for a context extension of `factor`.
fn long_magnitude(factor: f64, original_context: usize) -> f64 {
    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original_context as f64).ln()).sqrt() }
}

impl RopeConfig {
    /// Reads the settings of a model whose layers all have the same rotary embedding.
    pub(crate) fn parse(f: &mut Fields<'_>, shape: &RopeShape) -> Result<Self, ModelError> {
        let (new, old) = (f.object("rope_parameters")?, f.object("rope_scaling")?);
        if new.is_some() && old.is_some() {
            return Err(f.wrong("rope_scaling", &json!("an object beside rope_parameters"), "one of the two"));
        }
        Self::parse_with(f, "rope_theta", new.or(old), shape)
    }

    /// Reads the settings with the base in the field `theta` and the scaling in the object `inner`.
    pub(crate) fn parse_with(
        f: &mut Fields<'_>,
        theta: &'static str,
        inner: Option<Fields<'_>>,
        shape: &RopeShape,
    ) -> Result<Self, ModelError> {
        let outer_theta = f.optional_number(theta)?;
        let outer_part = f.optional_number("partial_rotary_factor")?;
        let outer_context = f.optional_count("original_max_position_embeddings", limits::CONTEXT)?;
        let Some(mut inner) = inner else {
            let rotated = rotated(f, outer_part, shape)?;
            return Ok(Self { theta: outer_theta.unwrap_or(shape.theta), rotated, scaling: RopeScaling::Unscaled });
        };
        let own_theta = inner.optional_number("rope_theta")?;
        let theta = one_of(&inner, "rope_theta", outer_theta, own_theta)?;
        let part = inner.optional_number("partial_rotary_factor")?;
        let part = one_of(&inner, "partial_rotary_factor", outer_part, part)?;
        let rotated = rotated(&inner, part, shape)?;
        let theta = theta.unwrap_or(shape.theta);
        let scaling = RopeScaling::parse(&mut inner, outer_context, rotated, shape)?;
        let config = Self { theta, rotated, scaling };
        let sound = |context| {
            let rotation = config.rotation(context);
            rotation.magnitude.is_finite() && rotation.inverse_frequencies.iter().all(|f| f.is_finite())
        };
        if !sound(1) || !sound(config.limit(shape.context)) {
            return Err(inner.wrong(
                "rope_type",
                &json!(config.scaling.name()),
                "settings that give finite frequencies",
            ));
        }
        inner.finish(UNUSED)?;
        Ok(config)
    }

    /// Writes the fields that [`RopeConfig::parse`] reads, in the form that all versions of transformers accept.
    pub(crate) fn write(&self, shape: &RopeShape, config: &mut Map<String, Json>) {
        self.write_with("rope_theta", shape, config);
    }

    /// Writes the fields with the base in the field `theta`.
    pub(crate) fn write_with(&self, theta: &str, shape: &RopeShape, config: &mut Map<String, Json>) {
        config.insert(theta.to_owned(), json!(self.theta));
        if self.rotated != shape.head_width {
            // Readers multiply this by the head width and truncate.
            let part = self.rotated as f64 / shape.head_width as f64;
            let exact = (part * shape.head_width as f64) as usize == self.rotated;
            config.insert("partial_rotary_factor".to_owned(), json!(if exact { part } else { part.next_up() }));
        }
        let mut scaling = Map::new();
        let mut set = |name: &str, value: Json| scaling.insert(name.to_owned(), value);
        match &self.scaling {
            RopeScaling::Unscaled => return,
            RopeScaling::Linear { factor } | RopeScaling::Dynamic { factor, .. } => {
                set("factor", json!(factor));
            }
            RopeScaling::Yarn(yarn) => {
                set("factor", json!(yarn.factor));
                set("beta_fast", json!(yarn.beta_fast));
                set("beta_slow", json!(yarn.beta_slow));
                set("original_max_position_embeddings", json!(yarn.original_context));
                if yarn.magnitude != magnitude_of(yarn.factor, 1.0) {
                    set("attention_factor", json!(yarn.magnitude));
                }
                if !yarn.truncate {
                    set("truncate", json!(false));
                }
            }
            RopeScaling::LongRope(long) => {
                // Phi-3's configuration has this field at the top level, and older readers refuse it here.
                config.insert("original_max_position_embeddings".to_owned(), json!(long.original_context));
                set("short_factor", json!(long.short));
                set("long_factor", json!(long.long));
                let factor = shape.context as f64 / long.original_context as f64;
                if long.magnitude != long_magnitude(factor, long.original_context) {
                    set("attention_factor", json!(long.magnitude));
                }
            }
            RopeScaling::Llama3 { factor, low, high, original_context } => {
                set("factor", json!(factor));
                set("low_freq_factor", json!(low));
                set("high_freq_factor", json!(high));
                set("original_max_position_embeddings", json!(original_context));
            }
            RopeScaling::Divisors(divisors) => {
                set("divisors", json!(divisors));
            }
        }
        let kind = if matches!(self.scaling, RopeScaling::LongRope(_)) { "type" } else { "rope_type" };
        scaling.insert(kind.to_owned(), json!(self.scaling.name()));
        config.insert("rope_scaling".to_owned(), Json::Object(scaling));
    }
}

/// Returns a setting that can be in two places, which must agree.
fn one_of(inner: &Fields<'_>, name: &str, outer: Option<f64>, own: Option<f64>) -> Result<Option<f64>, ModelError> {
    match (outer, own) {
        (Some(a), Some(b)) if a != b => {
            Err(inner.wrong(name, &json!(b), format!("{a}, as in the configuration itself")))
        }
        (a, b) => Ok(b.or(a)),
    }
}

/// Returns the number of rotated values of a head.
fn rotated(f: &Fields<'_>, part: Option<f64>, shape: &RopeShape) -> Result<usize, ModelError> {
    let width = shape.head_width;
    let Some(part) = part else { return Ok(width) };
    let wrong = |expected: &str| Err(f.wrong("partial_rotary_factor", &json!(part), expected));
    if part != 1.0 && !shape.partial {
        return wrong("1");
    }
    match (width as f64 * part) as usize {
        n if n > width => wrong("1 or less"),
        n if n < 2 || !n.is_multiple_of(2) => wrong(&format!("an even part of {width} values")),
        n => Ok(n),
    }
}

impl RopeScaling {
    /// Returns the `rope_type`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Unscaled => "default",
            Self::Linear { .. } => "linear",
            Self::Dynamic { .. } => "dynamic",
            Self::Yarn(_) => "yarn",
            Self::LongRope(_) => "longrope",
            Self::Llama3 { .. } => "llama3",
            Self::Divisors(_) => "divisors",
        }
    }

    fn parse(
        f: &mut Fields<'_>,
        outer_context: Option<usize>,
        rotated: usize,
        shape: &RopeShape,
    ) -> Result<Self, ModelError> {
        let (new, old) = (f.text("rope_type")?, f.text("type")?);
        if let (Some(new), Some(old)) = (new, old)
            && new != old
        {
            return Err(f.wrong("type", &json!(old), format!("{new:?}, the value of rope_type")));
        }
        let name = new.or(old).unwrap_or("default");
        let trained = match name {
            "yarn" | "longrope" | "su" | "llama3" => {
                let own = f.optional_count("original_max_position_embeddings", limits::CONTEXT)?;
                outer_context.or(own).unwrap_or(shape.context)
            }
            _ => shape.context,
        };
        match name {
            "default" => Ok(Self::Unscaled),
            "linear" => Ok(Self::Linear { factor: f.number("factor")? }),
            "dynamic" => Ok(Self::Dynamic { factor: factor(f)?, original_context: trained }),
            "yarn" => Ok(Self::Yarn(Yarn::parse(f, trained)?)),
            // "su" is the name in Phi-3's first configurations.
            "longrope" | "su" => Ok(Self::LongRope(LongRope::parse(f, trained, rotated, shape)?)),
            "llama3" => {
                let (low, high) = (f.number("low_freq_factor")?, f.number("high_freq_factor")?);
                if high <= low {
                    return Err(f.wrong("high_freq_factor", &json!(high), format!("more than {low}")));
                }
                Ok(Self::Llama3 { factor: f.number("factor")?, low, high, original_context: trained })
            }
            "divisors" => {
                let divisors = numbers(f, "divisors", rotated / 2)?;
                Ok(Self::Divisors(divisors.into_iter().map(|x| x as f32).collect()))
            }
            other => Err(f.wrong("rope_type", &json!(other), "default, linear, dynamic, yarn, longrope or llama3")),
        }
    }
}

impl Yarn {
    fn parse(f: &mut Fields<'_>, original_context: usize) -> Result<Self, ModelError> {
        let factor = factor(f)?;
        let given = f.optional_number("attention_factor")?;
        let magnitude = match (given, f.optional_number("mscale")?, f.optional_number("mscale_all_dim")?) {
            (Some(given), ..) => given,
            (None, Some(scale), Some(all)) => magnitude_of(factor, scale) / magnitude_of(factor, all),
            (None, ..) => magnitude_of(factor, 1.0),
        };
        Ok(Self {
            factor,
            beta_fast: f.optional_number("beta_fast")?.unwrap_or(32.0),
            beta_slow: f.optional_number("beta_slow")?.unwrap_or(1.0),
            original_context,
            truncate: f.optional_flag("truncate")?.unwrap_or(true),
            magnitude,
        })
    }
}

impl LongRope {
    fn parse(
        f: &mut Fields<'_>,
        original_context: usize,
        rotated: usize,
        shape: &RopeShape,
    ) -> Result<Self, ModelError> {
        let factor = f.optional_number("factor")?.unwrap_or(shape.context as f64 / original_context as f64);
        let given = f.optional_number("attention_factor")?;
        Ok(Self {
            short: numbers(f, "short_factor", rotated / 2)?,
            long: numbers(f, "long_factor", rotated / 2)?,
            original_context,
            magnitude: given.unwrap_or_else(|| long_magnitude(factor, original_context)),
        })
    }
}

/// Reads a context extension.
fn factor(f: &mut Fields<'_>) -> Result<f64, ModelError> {
    match f.number("factor")? {
        small if small < 1.0 => Err(f.wrong("factor", &json!(small), "1 or more")),
        factor => Ok(factor),
    }
}

/// Reads a list of `count` numbers above 0.
fn numbers(f: &mut Fields<'_>, name: &'static str, count: usize) -> Result<Vec<f64>, ModelError> {
    let expected = format!("{count} numbers above 0");
    let value = f.value(name).ok_or_else(|| f.missing(name, &expected))?;
    let number = |v: &Json| v.as_f64().filter(|x| x.is_finite() && *x > 0.0);
    let list = value.as_array().and_then(|list| list.iter().map(number).collect::<Option<Vec<f64>>>());
    list.filter(|list| list.len() == count).ok_or_else(|| f.wrong(name, value, expected))
}
