//! The end of an answer: its cost, its record, and its last parts.

use std::borrow::Cow;

use honelm_engine::Generation;
use honelm_gateway::accounting::Usage;
use honelm_gateway::policy::Upstream;
use serde_json::{Map, Value, json};

use super::{Answer, End};
use crate::gateway::About;
use crate::gateway::accounts::{Money, Record};
use crate::job::Part;
use crate::{log, provenance};

impl Answer {
    /// Ends the answer.
    pub(super) async fn finish(mut self, outcome: Result<(), End>) {
        self.close_attempt().await;
        self.count_tokens();
        let cloud_only_cost = self.preferred().map_or(Money::ZERO, |upstream| Money::cost(&upstream.price, self.usage));
        let about = self.about(cloud_only_cost);
        let record = self.record(&about, cloud_only_cost, outcome.is_ok());
        self.gateway.counters.add(&record);
        if let (Some(drafted), Some(at)) = (&about.drafts, self.taken.upstream) {
            self.gateway.counters.add_drafts(&self.gateway.settings.upstreams[at].name, drafted);
        }
        if let Err(error) = self.gateway.accounts.record(record).await {
            log::message(self.log, &format!("warning: {error}"));
        }
        let last: Vec<Part> = match outcome {
            Ok(()) => {
                let done = std::mem::take(&mut self.written).into_iter().enumerate();
                let done = done.filter_map(|(choice, written)| {
                    let (finish, usage) = written.done?;
                    Some(Part::Done { choice, finish, usage })
                });
                std::iter::once(Part::About(Box::new(about))).chain(done).collect()
            }
            Err(End::Failed(error) | End::Away(error)) => vec![Part::Failed(error)],
            Err(End::Gone) => Vec::new(),
        };
        for part in last {
            if self.sender.send(part).await.is_err() {
                return;
            }
        }
    }

    /// Adds up the tokens of all answers, if the local model wrote any of them.
    fn count_tokens(&mut self) {
        if self.taken.route != "local" {
            return;
        }
        let of = |of: fn(&crate::job::Usage) -> usize| {
            self.written.iter().filter_map(move |written| written.done.as_ref().map(|(_, usage)| of(usage) as u64))
        };
        let first = |all: fn(&crate::job::Usage) -> usize| of(all).max().unwrap_or(0);
        self.usage = Usage {
            input: self.usage.input.max(first(|usage| usage.prompt_tokens)),
            cached_input: self.usage.cached_input.max(first(|usage| usage.cached_tokens)),
            output: of(|usage| usage.completion_tokens).sum::<u64>().max(self.usage.output),
        };
    }

    /// Returns the upstream that would answer everything if it could: the first by priority, then by cost.
    fn preferred(&self) -> Option<&Upstream> {
        let cost = |upstream: &Upstream| Money::cost(&upstream.price, self.usage);
        self.gateway.settings.upstreams.iter().min_by_key(|upstream| (upstream.priority, cost(upstream)))
    }

    fn about(&self, cloud_only_cost: Money) -> About {
        let upstream = self.taken.upstream.and_then(|at| self.gateway.settings.upstreams.get(at));
        let shows_upstream = self.taken.route == "cloud" || self.taken.continued;
        About {
            route: self.taken.route,
            reason: self.taken.reason.clone(),
            detail: self.taken.detail.clone(),
            degraded: self.taken.degraded,
            continued: self.taken.continued,
            upstream: upstream.filter(|_| shows_upstream).map(|upstream| upstream.name.clone()),
            cost: self.cost.units(),
            saved: cloud_only_cost.minus(self.cost).units(),
            currency: self.gateway.settings.currency.clone(),
            replaced: self.replaced.clone(),
            drafts: self.drafted.clone(),
            origin: self.origin(),
        }
    }

    /// Returns what the answer was made with; of an upstream, only the model's name is known.
    fn origin(&self) -> Map<String, Value> {
        match &self.place.lease {
            Some(lease) if self.taken.route == "local" => {
                let how = self.job.given.clone().generation(lease.card(), &self.limits);
                let how =
                    how.map_or_else(|_| self.job.how.clone(), |how| Generation { seed: self.job.how.seed, ..how });
                provenance::of(lease.card(), &how)
            }
            _ => Map::from_iter([("model".to_owned(), json!({"name": self.model()}))]),
        }
    }

    /// Returns the name of the model that answered, or finished the answer.
    fn model(&self) -> String {
        match self.taken.upstream.and_then(|at| self.gateway.settings.upstreams.get(at)) {
            Some(upstream) if self.taken.route == "cloud" => upstream.model.clone(),
            _ => self.place.card().name.clone(),
        }
    }

    fn record(&self, about: &About, cloud_only_cost: Money, complete: bool) -> Record {
        let name = |at: &usize| self.gateway.settings.upstreams[*at].name.clone();
        Record {
            time: self.time,
            client: self.gateway.client(&self.ask).map(|client| client.name.clone()),
            model: self.model(),
            upstream: about.upstream.clone(),
            route: about.route.into(),
            reason: about.reason.clone().into_owned(),
            degraded: about.degraded,
            continued: about.continued,
            complete,
            usage: self.usage,
            cost: self.cost,
            cloud_only_cost,
            // A sum with an unknown part is unknown.
            energy_joules: self.energy.iter().copied().sum::<Option<f64>>().filter(|_| !self.energy.is_empty()),
            replaced: self.replaced.clone(),
            first_token_seconds: self.first_token.map(|time| time.as_secs_f64()),
            seconds: self.received.elapsed().as_secs_f64(),
            failures: self.failures.iter().map(|(at, code)| (name(at), Cow::Borrowed(*code))).collect(),
        }
    }
}
