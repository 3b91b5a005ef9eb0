//! Decoding for minutes on a loaded model.

use honelm_bench::{Origins, RECORD_VERSION, Sensors, Sustained, SustainedOptions, sustained};
use serde::Serialize;

use super::BenchOptions;
use super::machine::Cpus;
use super::prepare::Prepared;
use super::row::date;
use crate::device::cpu_name;
use crate::{Error, Event, Events};

/// The result of [`bench_sustained`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SustainedOutcome {
    /// The version of the form of the record ([`RECORD_VERSION`]).
    pub record: u64,
    /// The version of the program.
    pub version: &'static str,
    /// The time of the end of the run in UTC, in ISO 8601 form.
    pub date: String,
    /// The CPU's name, if the platform reports one.
    pub cpu: Option<String>,
    /// The CPUs that the program may use.
    #[serde(flatten)]
    pub cpus: Cpus,
    /// The name of the model or of the shape.
    pub model: String,
    /// The encoding of most of the weights.
    pub encoding: String,
    /// The back end and its kernels.
    pub device: String,
    /// The number of threads.
    pub threads: usize,
    /// The number of tokens in the cache when decoding begins.
    pub depth: usize,
    /// The number of tokens after which the cache is cut back to [`SustainedOutcome::depth`].
    pub stretch: usize,
    /// The seconds and their figures.
    #[serde(flatten)]
    pub run: Sustained,
    /// The origins of temperature, frequency and power, or the reasons why there are none.
    pub sensors: Origins,
}

/// Decodes for `seconds` seconds, [`BenchOptions::generates`] tokens at a time behind [`BenchOptions::depths`] cached ones (the first of
/// each). When `events` returns `false`, the run ends, and what was measured is returned.
///
/// # Errors
/// An invalid model, a run that does not fit into the context, [`Error::Interrupted`] before the run has begun.
pub fn bench_sustained(options: &BenchOptions, seconds: f64, events: Events<'_>) -> Result<SustainedOutcome, Error> {
    let first = |numbers: &[usize]| numbers.first().copied().unwrap_or(0);
    let (depth, stretch) = (first(&options.depths), first(&options.generates));
    let mut prepared = Prepared::load(options, depth.saturating_add(stretch), &mut *events)?;
    let mut sensors = Sensors::of_machine();
    let wanted = SustainedOptions { seconds, depth, stretch, batch: options.batch };
    let total = seconds.ceil() as usize;
    let mut progress =
        |passed: f64| events(&Event::Stage { name: "decoding", detail: "", done: total.min(passed as usize), total });
    let run = sustained(&mut prepared.model, &wanted, &mut sensors, &mut progress)?;
    prepared.watch.check()?;
    let about = &prepared.about;
    Ok(SustainedOutcome {
        record: RECORD_VERSION,
        version: env!("CARGO_PKG_VERSION"),
        date: date(),
        cpu: cpu_name(),
        cpus: Cpus::here(),
        model: about.model.clone(),
        encoding: about.encoding.clone(),
        device: honelm_model::Runner::describe(&prepared.model),
        threads: options.run.worker_threads(),
        depth,
        stretch,
        run,
        sensors: sensors.origins().clone(),
    })
}
