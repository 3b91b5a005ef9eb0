//! Accounting: tokens, cost, and what answers on the device saved.

mod money;
mod totals;

pub use money::Money;
pub use totals::Totals;

use serde::{Deserialize, Serialize};

/// The prices of a model, in the gateway's currency per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The price of tokens of prompts.
    pub input: Amount,
    /// The price of tokens of prompts that the upstream had cached [default: that of others].
    #[serde(default)]
    pub cached_input: Option<Amount>,
    /// The price of tokens of answers.
    pub output: Amount,
}

/// An amount of money or a price: a finite number of at least 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Amount(f64);

impl Amount {
    /// Returns the number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Amount {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        let is_amount = value.is_finite() && value >= 0.0;
        if is_amount { Ok(Self(value)) } else { Err(format!("found {value}, expected a number of at least 0")) }
    }
}

/// The tokens of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// The tokens of the prompt, cached ones included.
    pub input: u64,
    /// The tokens of the prompt that were cached.
    pub cached_input: u64,
    /// The tokens of the answer.
    pub output: u64,
}

impl Prices {
    /// Computes the cost of a request in units of the currency.
    #[must_use]
    pub fn cost(&self, usage: Usage) -> f64 {
        Money::cost(self, usage).units()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_finite_and_not_negative() {
        assert_eq!(Amount::try_from(2.5).map(Amount::get), Ok(2.5));
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(Amount::try_from(bad).is_err(), "{bad}");
        }
    }
}
