//! Amounts of money as whole numbers, so that sums are exact.

use std::fmt;
use std::iter::Sum;

use serde::{Serialize, Serializer};

use super::{Amount, Prices, Usage};

/// Billionths of a unit.
const NANOS: i64 = 1_000_000_000;

/// An amount of money in billionths of the gateway's currency. A difference can be negative. Sums beyond the range of 64 bits stay at
/// its end. JSON has it in units of the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i64);

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Creates an amount of billionths of a unit.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns the billionths of a unit.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Returns the nearest number of units.
    #[must_use]
    pub fn units(self) -> f64 {
        self.0 as f64 / NANOS as f64
    }

    /// Creates an amount from units of the currency, rounded up to a billionth. An amount beyond the range becomes its end.
    #[must_use]
    pub fn from_units(units: f64) -> Self {
        // A cast from floating point saturates.
        Self((units * NANOS as f64).ceil() as i64)
    }

    /// Computes the cost of tokens, rounded up to a billionth.
    #[must_use]
    pub fn cost(prices: &Prices, usage: Usage) -> Self {
        let cached = usage.cached_input.min(usage.input);
        let cached_price = prices.cached_input.unwrap_or(prices.input);
        let parts = [(prices.input, usage.input - cached), (cached_price, cached), (prices.output, usage.output)];
        let millionths = parts.into_iter().fold(0i128, |sum, (price, tokens)| {
            sum.saturating_add(i128::from(Self::from(price).0).saturating_mul(i128::from(tokens)))
        });
        let nanos = millionths.saturating_add(999_999) / 1_000_000;
        Self(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// Returns the sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Returns the difference.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl From<Amount> for Money {
    /// Rounds to the nearest billionth. An amount beyond the range becomes its end.
    fn from(amount: Amount) -> Self {
        Self((amount.get() * NANOS as f64).round() as i64)
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.units())
    }
}

impl fmt::Display for Money {
    /// Writes units with two decimals, or with as many more as the amount has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, part) = (self.0.unsigned_abs() / NANOS as u64, self.0.unsigned_abs() % NANOS as u64);
        let digits = format!("{part:09}");
        let decimals = digits.trim_end_matches('0').len().max(2);
        f.pad(&format!("{sign}{whole}.{}", &digits[..decimals]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(units: f64) -> Money {
        Amount::try_from(units).expect("an amount").into()
    }

    #[test]
    fn amounts_are_exact_and_shown_with_their_decimals() {
        let tenth: Money = std::iter::repeat_n(money(0.1), 10).sum();
        assert_eq!(tenth, money(1.0));
        for (nanos, shown) in [
            (0, "0.00"),
            (1, "0.000000001"),
            (10_500_000, "0.0105"),
            (1_200_000_000, "1.20"),
            (-2_500_000_000, "-2.50"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(Money::from_nanos(nanos).to_string(), shown);
        }
        assert_eq!(serde_json::to_string(&money(0.0105)).expect("JSON"), "0.0105");
    }

    #[test]
    fn the_ends_of_the_range_hold() {
        let most = Money::from_nanos(i64::MAX);
        let least = Money::from_nanos(i64::MIN);
        assert_eq!((most.plus(most), money(1e30), Money::ZERO.minus(least)), (most, most, most));
        let price = Amount::try_from(1e30).expect("an amount");
        let prices = Prices { input: price, cached_input: None, output: price };
        assert_eq!(Money::cost(&prices, Usage { input: u64::MAX, cached_input: 0, output: u64::MAX }), most);
    }

    #[test]
    fn cached_tokens_have_a_price_of_their_own_and_fractions_count_as_one() {
        let amount = |value| Amount::try_from(value).expect("an amount");
        let usage = Usage { input: 1_000_000, cached_input: 400_000, output: 100_000 };
        let prices = Prices { input: amount(2.0), cached_input: Some(amount(0.5)), output: amount(10.0) };
        assert_eq!(Money::cost(&prices, usage), money(2.4));
        assert_eq!(Money::cost(&Prices { cached_input: None, ..prices }, usage), money(3.0));
        let all_cached = Usage { cached_input: 2_000_000, ..usage };
        assert_eq!(Money::cost(&prices, all_cached), money(1.5), "not more cached tokens than tokens");
        let cheap = Prices { input: amount(0.000_1), ..Prices::default() };
        let cost = |input| Money::cost(&cheap, Usage { input, ..Usage::default() }).nanos();
        assert_eq!((cost(0), cost(1), cost(10), cost(11)), (0, 1, 1, 2));
    }
}
