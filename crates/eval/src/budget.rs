use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::EvalError;

/// The largest increase in perplexity that a candidate may have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "lowercase")]
pub enum Budget {
    /// A difference from the original's perplexity.
    Absolute(f64),
    /// A percentage of the original's perplexity.
    Relative(f64),
}

impl Budget {
    /// Returns the number, in perplexity or in percent.
    #[must_use]
    pub fn value(self) -> f64 {
        match self {
            Self::Absolute(value) | Self::Relative(value) => value,
        }
    }

    /// Returns the difference that the budget allows for an original of this perplexity.
    #[must_use]
    pub fn difference(self, perplexity: f64) -> f64 {
        match self {
            Self::Absolute(value) => value,
            Self::Relative(percent) => percent / 100.0 * perplexity,
        }
    }
}

impl From<f64> for Budget {
    fn from(difference: f64) -> Self {
        Self::Absolute(difference)
    }
}

/// `+0.5` or `+5%`.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(value) => write!(f, "{value:+}"),
            Self::Relative(percent) => write!(f, "{percent:+}%"),
        }
    }
}

impl FromStr for Budget {
    type Err = EvalError;

    fn from_str(text: &str) -> Result<Self, EvalError> {
        let number = |digits: &str| digits.trim().parse::<f64>().ok().filter(|value| value.is_finite());
        let found = match text.strip_suffix('%') {
            Some(percent) => number(percent).map(Self::Relative),
            None => number(text).map(Self::Absolute),
        };
        found.ok_or_else(|| EvalError::InvalidBudget(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_shown() {
        for (text, budget, shown) in [
            ("0.5", Budget::Absolute(0.5), "+0.5"),
            ("-1", Budget::Absolute(-1.0), "-1"),
            ("5%", Budget::Relative(5.0), "+5%"),
            ("2.5 %", Budget::Relative(2.5), "+2.5%"),
        ] {
            assert_eq!(text.parse::<Budget>().expect("a budget"), budget);
            assert_eq!(budget.to_string(), shown);
        }
        for wrong in ["", "%", "five", "nan", "inf%", "5%%"] {
            assert!(matches!(wrong.parse::<Budget>(), Err(EvalError::InvalidBudget(_))), "{wrong}");
        }
        assert!((Budget::Relative(5.0).difference(40.0) - 2.0).abs() < 1e-12);
        assert!((Budget::from(0.5).difference(40.0) - 0.5).abs() < 1e-12);
    }
}
