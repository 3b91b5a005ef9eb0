//! Sums over records of requests.

use serde::Serialize;

use super::Money;

/// The sums over records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// The number of requests.
    pub requests: u64,
    /// The requests that were answered on the device.
    pub local_requests: u64,
    /// Those of them for which the cloud was away.
    pub degraded_requests: u64,
    /// The requests that no place could answer.
    pub refused_requests: u64,
    /// The tokens of prompts.
    pub input_tokens: u64,
    /// The cached tokens of prompts.
    pub cached_input_tokens: u64,
    /// The tokens of answers.
    pub output_tokens: u64,
    /// The cost.
    pub cost: Money,
    /// The cost with the cloud alone.
    pub cloud_only_cost: Money,
    /// The energy in microjoules, summed over the requests that know it.
    pub energy_microjoules: u64,
    /// The number of requests that know their energy. With 0, the energy is unknown, not 0.
    pub measured_requests: u64,
    /// The pieces of private data that were replaced.
    pub replaced: u64,
}

impl Totals {
    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.local_requests += other.local_requests;
        self.degraded_requests += other.degraded_requests;
        self.refused_requests += other.refused_requests;
        self.input_tokens += other.input_tokens;
        self.cached_input_tokens += other.cached_input_tokens;
        self.output_tokens += other.output_tokens;
        self.cost = self.cost.plus(other.cost);
        self.cloud_only_cost = self.cloud_only_cost.plus(other.cloud_only_cost);
        self.energy_microjoules += other.energy_microjoules;
        self.measured_requests += other.measured_requests;
        self.replaced += other.replaced;
    }

    /// Returns what was saved against the cloud alone; negative where failed attempts cost more.
    #[must_use]
    pub fn saved(&self) -> Money {
        self.cloud_only_cost.minus(self.cost)
    }

    /// Returns the share of requests that were answered on the device, 0 to 1; `None` without requests.
    #[must_use]
    pub fn local_share(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.local_requests as f64 / self.requests as f64)
    }

    /// Returns the energy in joules of the requests that know it; `None` if none does.
    #[must_use]
    pub fn energy_joules(&self) -> Option<f64> {
        (self.measured_requests > 0).then(|| self.energy_microjoules as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_merge_and_unknown_energy_stays_unknown() {
        let cloud = Totals {
            requests: 1,
            input_tokens: 100,
            cost: Money::from_nanos(400),
            cloud_only_cost: Money::from_nanos(400),
            replaced: 2,
            ..Totals::default()
        };
        let local = Totals {
            requests: 1,
            local_requests: 1,
            degraded_requests: 1,
            cloud_only_cost: Money::from_nanos(500),
            energy_microjoules: 2_000_000,
            measured_requests: 1,
            ..Totals::default()
        };
        let mut all = Totals::default();
        assert_eq!((all.local_share(), all.energy_joules()), (None, None));
        all.merge(&cloud);
        assert_eq!((all.local_share(), all.energy_joules()), (Some(0.0), None));
        all.merge(&local);
        assert_eq!((all.requests, all.input_tokens, all.replaced, all.degraded_requests), (2, 100, 2, 1));
        assert_eq!((all.saved(), all.local_share()), (Money::from_nanos(500), Some(0.5)));
        assert_eq!((all.energy_joules(), all.measured_requests), (Some(2.0), 1));
    }
}
