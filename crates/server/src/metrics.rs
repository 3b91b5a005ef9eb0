//! Counters, as Prometheus reads them.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::app::App;

/// The upper bounds of the histogram of response times, in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0, 300.0];

/// The counters of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// The responses by path and status.
    responses: Mutex<Vec<(String, u16, u64)>>,
    /// The times to the head of the response, by bound; the last one is their number.
    times: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
    /// The unknown fields of all requests.
    pub ignored_fields: AtomicU64,
    /// The connections that were refused because there were too many.
    pub refused_connections: AtomicU64,
    /// The connections that are open.
    pub connections: AtomicU64,
}

impl Metrics {
    /// Counts a response. `path` is that of a route, not what a client wrote.
    pub fn count(&self, path: &str, status: u16, time: Duration) {
        let mut responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        match responses.iter_mut().find(|(of, code, _)| of == path && *code == status) {
            Some((_, _, count)) => *count += 1,
            None => responses.push((path.to_owned(), status, 1)),
        }
        drop(responses);
        for (bound, count) in BOUNDS.iter().zip(&self.times) {
            if time.as_secs_f64() <= *bound {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.times[BOUNDS.len()].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the number of responses.
    #[must_use]
    pub fn responses(&self) -> u64 {
        self.times[BOUNDS.len()].load(Ordering::Relaxed)
    }
}

/// Returns all counters in the text format of Prometheus.
#[must_use]
pub fn text(app: &App) -> String {
    let mut out = String::new();
    let metrics = &app.metrics;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    head(&mut out, "honelm_http_responses_total", "counter", "Responses by route and status.");
    let mut responses = metrics.responses.lock().unwrap_or_else(PoisonError::into_inner).clone();
    responses.sort();
    for (path, status, count) in responses {
        let path = label(&path);
        let _ = writeln!(out, "honelm_http_responses_total{{path=\"{path}\",status=\"{status}\"}} {count}");
    }
    head(&mut out, "honelm_http_response_seconds", "histogram", "Time to the head of the response.");
    for (bound, count) in BOUNDS.iter().zip(&metrics.times) {
        let _ = writeln!(out, "honelm_http_response_seconds_bucket{{le=\"{bound}\"}} {}", get(count));
    }
    let all = metrics.responses();
    let seconds = get(&metrics.micros) as f64 / 1e6;
    let _ = writeln!(out, "honelm_http_response_seconds_bucket{{le=\"+Inf\"}} {all}");
    let _ = writeln!(out, "honelm_http_response_seconds_sum {seconds}\nhonelm_http_response_seconds_count {all}");
    let (loaded, unloaded) = app.registry.loads();
    let simple = [
        ("honelm_ignored_fields_total", "counter", "Unknown fields of requests.", get(&metrics.ignored_fields)),
        (
            "honelm_refused_connections_total",
            "counter",
            "Connections refused for their number.",
            get(&metrics.refused_connections),
        ),
        ("honelm_connections", "gauge", "Open connections.", get(&metrics.connections)),
        ("honelm_model_loads_total", "counter", "Models loaded.", loaded),
        ("honelm_model_unloads_total", "counter", "Models unloaded.", unloaded),
        (
            "honelm_memory_budget_bytes",
            "gauge",
            "The most bytes that models may take; 0 is no limit.",
            app.registry.budget().unwrap_or(0),
        ),
    ];
    for (name, kind, help, value) in simple {
        head(&mut out, name, kind, help);
        let _ = writeln!(out, "{name} {value}");
    }
    let states = app.registry.status();
    type Value = fn(&crate::registry::Status) -> u64;
    let of_models: [(&str, &str, &str, Value); 8] = [
        ("honelm_requests_active", "gauge", "Requests that are answered.", |s| s.active as u64),
        ("honelm_requests_waiting", "gauge", "Requests that wait.", |s| s.waiting as u64),
        ("honelm_prompt_tokens_total", "counter", "Tokens of prompts.", |s| s.prompt_tokens),
        ("honelm_cached_tokens_total", "counter", "Tokens of prompts that were cached.", |s| s.cached_tokens),
        ("honelm_answer_tokens_total", "counter", "Tokens of answers.", |s| s.answer_tokens),
        ("honelm_draft_tokens_total", "counter", "Draft tokens that were verified.", |s| s.drafted_tokens),
        ("honelm_accepted_tokens_total", "counter", "Draft tokens that were accepted.", |s| s.accepted_tokens),
        ("honelm_model_bytes", "gauge", "Planned memory.", |s| s.need.map_or(0, |need| need.total())),
    ];
    for (name, kind, help, value) in of_models {
        head(&mut out, name, kind, help);
        for state in &states {
            let _ = writeln!(out, "{name}{{model=\"{}\"}} {}", label(&state.name), value(state));
        }
    }
    if let Some(gateway) = &app.gateway {
        gateway.write_metrics(&mut out);
    }
    out
}

/// Appends the help and the type of a counter.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Escapes the value of a label.
pub(crate) fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
