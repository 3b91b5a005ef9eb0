//! The counters of a gateway, as Prometheus reads them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use honelm_gateway::accounting::Money;

use super::accounts::Record;
use super::{Drafted, UpstreamHealth};
use crate::metrics::{head, label};

/// The upper bounds of the histogram of upstreams' times, in seconds.
const BOUNDS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// The counters since the start.
#[derive(Debug, Default)]
pub struct Counters(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The sums by route and upstream.
    routes: BTreeMap<(String, String), Sums>,
    /// The pieces of private data that were replaced, by kind.
    replaced: BTreeMap<String, u64>,
    /// The failures, by upstream and code.
    failures: BTreeMap<(String, String), u64>,
    /// The times to the first token, by upstream.
    times: BTreeMap<String, Times>,
    /// The drafts, by upstream.
    drafts: BTreeMap<String, Drafts>,
    /// The energy of the requests that know it, in joules, and their number.
    energy: (f64, u64),
}

/// The drafts that an upstream verified.
#[derive(Debug, Default)]
struct Drafts {
    rounds: u64,
    drafted: u64,
    accepted: u64,
}

#[derive(Debug, Default)]
struct Sums {
    requests: u64,
    degraded: u64,
    incomplete: u64,
    input: u64,
    cached_input: u64,
    output: u64,
    cost: Money,
    cloud_only_cost: Money,
}

/// A histogram.
#[derive(Debug, Default)]
struct Times {
    within: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

impl Counters {
    /// Counts a request.
    pub fn add(&self, record: &Record) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let upstream = record.upstream.clone().unwrap_or_default();
        if let Some(seconds) = record.first_token_seconds.filter(|_| record.upstream.is_some()) {
            let times = state.times.entry(upstream.clone()).or_default();
            times.count += 1;
            times.seconds += seconds;
            BOUNDS.iter().zip(&mut times.within).filter(|(bound, _)| seconds <= **bound).for_each(|(_, n)| *n += 1);
        }
        let sums = state.routes.entry((record.route.clone().into_owned(), upstream)).or_default();
        sums.requests += 1;
        sums.degraded += u64::from(record.degraded);
        sums.incomplete += u64::from(!record.complete);
        sums.input += record.usage.input;
        sums.cached_input += record.usage.cached_input;
        sums.output += record.usage.output;
        sums.cost = sums.cost.plus(record.cost);
        sums.cloud_only_cost = sums.cloud_only_cost.plus(record.cloud_only_cost);
        for (kind, count) in &record.replaced {
            *state.replaced.entry(kind.clone().into_owned()).or_default() += *count as u64;
        }
        for (upstream, code) in &record.failures {
            *state.failures.entry((upstream.clone(), code.clone().into_owned())).or_default() += 1;
        }
        if let Some(joules) = record.energy_joules {
            state.energy.0 += joules;
            state.energy.1 += 1;
        }
    }

    /// Counts the drafts of an answer.
    pub fn add_drafts(&self, upstream: &str, drafted: &Drafted) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = state.drafts.entry(upstream.to_owned()).or_default();
        sums.rounds += drafted.rounds;
        sums.drafted += drafted.drafted;
        sums.accepted += drafted.accepted;
    }

    /// Appends the counters and the states of upstreams in the text format of Prometheus.
    pub fn write(&self, out: &mut String, currency: &str, upstreams: &[UpstreamHealth], lost: u64) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.write_routes(out, currency);
        head(out, "honelm_gateway_replaced_total", "counter", "Pieces of private data that were replaced.");
        for (kind, count) in &state.replaced {
            let _ = writeln!(out, "honelm_gateway_replaced_total{{kind=\"{}\"}} {count}", label(kind));
        }
        head(out, "honelm_gateway_upstream_failures_total", "counter", "Failures of upstreams by code.");
        for ((upstream, code), count) in &state.failures {
            let (upstream, code) = (label(upstream), label(code));
            let name = "honelm_gateway_upstream_failures_total";
            let _ = writeln!(out, "{name}{{upstream=\"{upstream}\",code=\"{code}\"}} {count}");
        }
        state.write_times(out);
        state.write_drafts(out);
        let (joules, measured) = state.energy;
        if measured > 0 {
            head(out, "honelm_gateway_energy_joules_total", "counter", "Energy of local answers that know it.");
            let _ = writeln!(out, "honelm_gateway_energy_joules_total {joules}");
            head(out, "honelm_gateway_measured_requests_total", "counter", "Local answers that know their energy.");
            let _ = writeln!(out, "honelm_gateway_measured_requests_total {measured}");
        }
        drop(state);
        head(out, "honelm_gateway_breaker", "gauge", "State of the breakers of upstreams: 1 for the present one.");
        for upstream in upstreams {
            for name in ["closed", "open", "trial"] {
                let (of, is) = (label(&upstream.name), u8::from(upstream.breaker == name));
                let _ = writeln!(out, "honelm_gateway_breaker{{upstream=\"{of}\",state=\"{name}\"}} {is}");
            }
        }
        if upstreams.iter().any(|upstream| upstream.drafts.is_some()) {
            head(out, "honelm_gateway_drafts", "gauge", "State of drafts for upstreams: 1 for the present one.");
        }
        for upstream in upstreams.iter().filter(|upstream| upstream.drafts.is_some()) {
            for name in ["on", "off", "trial", "unable", "unknown"] {
                let (of, is) = (label(&upstream.name), u8::from(upstream.drafts == Some(name)));
                let _ = writeln!(out, "honelm_gateway_drafts{{upstream=\"{of}\",state=\"{name}\"}} {is}");
            }
        }
        head(out, "honelm_gateway_lost_records_total", "counter", "Records that could not be written.");
        let _ = writeln!(out, "honelm_gateway_lost_records_total {lost}");
    }
}

impl State {
    fn write_routes(&self, out: &mut String, currency: &str) {
        type Values = &'static [(&'static str, fn(&Sums) -> u64)];
        let counts: [(&str, &str, Values); 4] = [
            ("requests", "Requests by route.", &[("", |sums| sums.requests)]),
            ("degraded_requests", "Local answers because the cloud was away.", &[("", |sums| sums.degraded)]),
            ("incomplete_requests", "Requests without a complete answer.", &[("", |sums| sums.incomplete)]),
            (
                "tokens",
                "Tokens by route.",
                &[
                    ("input", |sums| sums.input),
                    ("cached_input", |sums| sums.cached_input),
                    ("output", |sums| sums.output),
                ],
            ),
        ];
        for (name, help, values) in counts {
            let name = format!("honelm_gateway_{name}_total");
            head(out, &name, "counter", help);
            for ((route, upstream), sums) in &self.routes {
                for (kind, value) in values {
                    let kind = if kind.is_empty() { String::new() } else { format!(",kind=\"{kind}\"") };
                    let labels = format!("route=\"{}\",upstream=\"{}\"{kind}", label(route), label(upstream));
                    let _ = writeln!(out, "{name}{{{labels}}} {}", value(sums));
                }
            }
        }
        type Amount = fn(&Sums) -> Money;
        let amounts: [(&str, &str, &str, Amount); 3] = [
            ("cost_total", "counter", "Cost.", |sums| sums.cost),
            ("cloud_only_cost_total", "counter", "Cost with the cloud alone.", |sums| sums.cloud_only_cost),
            // Failed attempts can make it smaller.
            ("saved", "gauge", "Cost saved since the start.", |sums| sums.cloud_only_cost.minus(sums.cost)),
        ];
        for (name, kind, help, amount) in amounts {
            let name = format!("honelm_gateway_{name}");
            head(out, &name, kind, help);
            for ((route, upstream), sums) in &self.routes {
                let (route, upstream, currency) = (label(route), label(upstream), label(currency));
                let labels = format!("route=\"{route}\",upstream=\"{upstream}\",currency=\"{currency}\"");
                let _ = writeln!(out, "{name}{{{labels}}} {}", amount(sums).units());
            }
        }
    }

    fn write_drafts(&self, out: &mut String) {
        type Count = fn(&Drafts) -> u64;
        let counts: [(&str, &str, Count); 3] = [
            ("rounds", "Rounds in which an upstream verified a draft.", |sums| sums.rounds),
            ("tokens", "Tokens that the device drafted.", |sums| sums.drafted),
            ("accepted_tokens", "Drafted tokens that upstreams accepted.", |sums| sums.accepted),
        ];
        for (name, help, count) in counts.iter().filter(|_| !self.drafts.is_empty()) {
            let name = format!("honelm_gateway_draft_{name}_total");
            head(out, &name, "counter", help);
            for (upstream, sums) in &self.drafts {
                let _ = writeln!(out, "{name}{{upstream=\"{}\"}} {}", label(upstream), count(sums));
            }
        }
    }

    fn write_times(&self, out: &mut String) {
        let name = "honelm_gateway_upstream_first_token_seconds";
        head(out, name, "histogram", "Time to the first token of answers of upstreams.");
        for (upstream, times) in &self.times {
            let upstream = label(upstream);
            for (bound, count) in BOUNDS.iter().zip(times.within) {
                let _ = writeln!(out, "{name}_bucket{{upstream=\"{upstream}\",le=\"{bound}\"}} {count}");
            }
            let count = times.count;
            let _ = writeln!(out, "{name}_bucket{{upstream=\"{upstream}\",le=\"+Inf\"}} {count}");
            let _ = writeln!(out, "{name}_sum{{upstream=\"{upstream}\"}} {}", times.seconds);
            let _ = writeln!(out, "{name}_count{{upstream=\"{upstream}\"}} {count}");
        }
    }
}
