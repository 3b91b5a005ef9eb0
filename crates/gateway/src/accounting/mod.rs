//! Accounting: tokens, cost, and what answers on the device saved, per client and model.

use std::collections::BTreeMap;

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
    /// Computes the cost of a request.
    #[must_use]
    pub fn cost(&self, usage: Usage) -> f64 {
        let cached = usage.cached_input.min(usage.input);
        let fresh = usage.input - cached;
        let cached_price = self.cached_input.unwrap_or(self.input).0;
        (self.input.0 * fresh as f64 + cached_price * cached as f64 + self.output.0 * usage.output as f64) / 1e6
    }
}

/// The record of an answered request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The name of the client.
    pub client: String,
    /// The model that answered.
    pub model: String,
    /// `true` if the answer was given on the device, in whole or in part.
    pub is_local: bool,
    /// `true` if that was only because the cloud was away.
    pub is_degraded: bool,
    /// The tokens.
    pub usage: Usage,
    /// The cost of the upstreams that were used, failed attempts included.
    pub cost: f64,
    /// The cost that the preferred upstream would have had.
    pub cloud_only_cost: f64,
    /// The energy of the device in joules, where it could be read.
    pub energy_joules: Option<f64>,
}

/// The sums over entries.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// The number of requests.
    pub requests: u64,
    /// The requests that were answered on the device.
    pub local_requests: u64,
    /// Those of them for which the cloud was away.
    pub degraded_requests: u64,
    /// The tokens of prompts.
    pub input_tokens: u64,
    /// The cached tokens of prompts.
    pub cached_input_tokens: u64,
    /// The tokens of answers.
    pub output_tokens: u64,
    /// The cost.
    pub cost: f64,
    /// The cost with the cloud alone.
    pub cloud_only_cost: f64,
    /// The energy in joules, summed over the requests that know it.
    pub energy_joules: f64,
    /// The number of requests that know their energy. With 0, the energy is unknown, not 0.
    pub measured_requests: u64,
}

impl Totals {
    /// Adds an entry.
    pub fn add(&mut self, entry: &Entry) {
        self.requests += 1;
        self.local_requests += u64::from(entry.is_local);
        self.degraded_requests += u64::from(entry.is_degraded);
        self.input_tokens += entry.usage.input;
        self.cached_input_tokens += entry.usage.cached_input;
        self.output_tokens += entry.usage.output;
        self.cost += entry.cost;
        self.cloud_only_cost += entry.cloud_only_cost;
        if let Some(joules) = entry.energy_joules {
            self.energy_joules += joules;
            self.measured_requests += 1;
        }
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.local_requests += other.local_requests;
        self.degraded_requests += other.degraded_requests;
        self.input_tokens += other.input_tokens;
        self.cached_input_tokens += other.cached_input_tokens;
        self.output_tokens += other.output_tokens;
        self.cost += other.cost;
        self.cloud_only_cost += other.cloud_only_cost;
        self.energy_joules += other.energy_joules;
        self.measured_requests += other.measured_requests;
    }

    /// Returns what was saved against the cloud alone; negative where failed attempts cost more.
    #[must_use]
    pub fn saved(&self) -> f64 {
        self.cloud_only_cost - self.cost
    }

    /// Returns the share of requests that were answered on the device, 0 to 1; `None` without requests.
    #[must_use]
    pub fn local_share(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.local_requests as f64 / self.requests as f64)
    }
}

/// Sums per client and model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ledger {
    rows: BTreeMap<(String, String), Totals>,
}

impl Ledger {
    /// Adds an entry.
    pub fn add(&mut self, entry: &Entry) {
        self.rows.entry((entry.client.clone(), entry.model.clone())).or_default().add(entry);
    }

    /// Returns the rows by client, then by model.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str, &Totals)> {
        self.rows.iter().map(|((client, model), totals)| (client.as_str(), model.as_str(), totals))
    }

    /// Sums the rows of a client, or of all.
    #[must_use]
    pub fn total(&self, client: Option<&str>) -> Totals {
        let mut out = Totals::default();
        self.rows().filter(|(name, ..)| client.is_none_or(|c| c == *name)).for_each(|(.., row)| out.merge(row));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(value: f64) -> Amount {
        Amount::try_from(value).expect("an amount")
    }

    fn entry(client: &str, model: &str, is_local: bool, cost: f64) -> Entry {
        let usage = Usage { input: 100, cached_input: 40, output: 10 };
        Entry {
            client: client.to_owned(),
            model: model.to_owned(),
            is_local,
            is_degraded: false,
            usage,
            cost,
            cloud_only_cost: 0.5,
            energy_joules: is_local.then_some(2.0),
        }
    }

    #[test]
    fn cached_tokens_have_a_price_of_their_own() {
        let usage = Usage { input: 1_000_000, cached_input: 400_000, output: 100_000 };
        let prices = Prices { input: amount(2.0), cached_input: Some(amount(0.5)), output: amount(10.0) };
        assert!((prices.cost(usage) - (1.2 + 0.2 + 1.0)).abs() < 1e-12);
        assert!((Prices { cached_input: None, ..prices }.cost(usage) - 3.0).abs() < 1e-12);
        assert!(Amount::try_from(-1.0).is_err() && Amount::try_from(f64::NAN).is_err());
    }

    #[test]
    fn rows_add_up_to_the_total() {
        let mut ledger = Ledger::default();
        for (client, model, is_local) in
            [("a", "small", true), ("a", "large", false), ("b", "small", true), ("a", "small", true)]
        {
            ledger.add(&entry(client, model, is_local, if is_local { 0.0 } else { 0.4 }));
        }
        assert_eq!(
            ledger.rows().map(|(c, m, t)| (c, m, t.requests)).collect::<Vec<_>>(),
            [("a", "large", 1), ("a", "small", 2), ("b", "small", 1)]
        );
        let (all, of_a) = (ledger.total(None), ledger.total(Some("a")));
        assert_eq!((all.requests, all.local_requests, all.input_tokens, all.measured_requests), (4, 3, 400, 3));
        assert!((all.saved() - 1.6).abs() < 1e-12 && of_a.local_share() == Some(2.0 / 3.0));
        assert_eq!(ledger.total(Some("nobody")).local_share(), None);
    }
}
