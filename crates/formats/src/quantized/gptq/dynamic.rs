use serde_json::{Map, Value};

use crate::FormatError;
use crate::quantized::fields::Fields;
use crate::quantized::pattern::{Pattern, Patterns};

/// Settings of one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleSettings {
    /// Bits a code.
    pub bits: u8,
    /// Columns a group; `None` for one group a row.
    pub group_size: Option<usize>,
    /// Whether every zero point is the middle code.
    pub sym: bool,
}

/// GPTQModel's `dynamic`: settings for modules whose name an expression matches from its start. The first that
/// matches decides. `-:` before it leaves the modules out; `+:` or nothing gives them settings of their own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dynamic {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    /// As the file has it.
    key: String,
    settings: Value,
    pattern: Pattern,
    /// `None`: left out.
    overrides: Option<Overrides>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Overrides {
    bits: Option<u8>,
    group_size: Option<Option<usize>>,
    sym: Option<bool>,
}

impl Dynamic {
    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn parse(settings: &Fields<'_>) -> Result<Self, FormatError> {
        if settings.get("dynamic") == Some(&Value::Bool(false)) {
            return Ok(Self::default());
        }
        let Some(fields) = settings.child("dynamic")? else { return Ok(Self::default()) };
        let mut rules = Vec::new();
        let mut patterns = Patterns::new();
        for (key, value) in fields.iter() {
            let (leave_out, text) = match (key.strip_prefix("-:"), key.strip_prefix("+:")) {
                (Some(text), _) => (true, text),
                (None, Some(text)) => (false, text),
                (None, None) => (false, key),
            };
            let pattern = patterns.compile(fields.file, "dynamic", text)?;
            let overrides = match fields.child(key)? {
                Some(own) if !leave_out => Some(Overrides::parse(&own)?),
                _ => None,
            };
            rules.push(Rule { key: key.to_owned(), settings: value.clone(), pattern, overrides });
        }
        Ok(Self { rules })
    }

    /// The settings of `module` where those of all others are `base`; `None` where it is left out.
    ///
    /// # Errors
    /// [`FormatError::NotRepresentable`] where an expression takes too long to match.
    pub(super) fn of(&self, module: &str, base: ModuleSettings) -> Result<Option<ModuleSettings>, FormatError> {
        for rule in &self.rules {
            let Some(matches) = rule.pattern.matches(module) else {
                let reason = format!("the expression {} takes too long to match", crate::error::shown(&rule.key));
                return Err(FormatError::NotRepresentable { tensor: module.to_owned(), format: super::FORMAT, reason });
            };
            if matches {
                return Ok(rule.overrides.map(|own| ModuleSettings {
                    bits: own.bits.unwrap_or(base.bits),
                    group_size: own.group_size.unwrap_or(base.group_size),
                    sym: own.sym.unwrap_or(base.sym),
                }));
            }
        }
        Ok(Some(base))
    }

    pub(super) fn to_json(&self) -> Value {
        let rules = self.rules.iter().map(|rule| (rule.key.clone(), rule.settings.clone()));
        Value::Object(Map::from_iter(rules))
    }
}

impl Overrides {
    fn parse(fields: &Fields<'_>) -> Result<Self, FormatError> {
        fields.only(&["bits", "group_size", "sym", "desc_act"], super::config::HARMLESS)?;
        fields.flag("desc_act")?;
        Ok(Self {
            bits: fields.bits("bits", &super::config::BITS, super::config::BITS_NAMES)?,
            group_size: fields.group_size("group_size")?,
            sym: fields.flag("sym")?,
        })
    }
}
