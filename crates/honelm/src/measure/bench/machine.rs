//! The machine beside a speed test: its limits, its energy and the CPUs that it allows.

use honelm_bench::{Bound, Ceilings, Energy, Limit, Products, Test, Work, cpu_limit};
use honelm_cpu::Compute;
use honelm_model::{Checkpoint, Kind, Runner};
use honelm_plan::{Plan, has_int8_kernel};
use serde::Serialize;

use crate::{Error, RunOptions};

/// The limits of the machine beside the speed of a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CeilingRow {
    /// The limits, the larger of those probed before and after the test.
    #[serde(flatten)]
    pub probed: Ceilings,
    /// The rate that the limits allow.
    pub tokens_per_second: f64,
    /// The time that the limits allow a repeat in seconds.
    pub seconds: f64,
    /// The measured rate in percent of that rate.
    pub percent: f64,
    /// The resource that takes most of the time.
    pub limited_by: Limit,
}

impl CeilingRow {
    /// Compares a rate with the limits. `bound` is that of a test of which the mean repeat took `seconds`.
    pub fn new(probed: Ceilings, bound: Bound, tokens_per_second: f64, seconds: f64) -> Self {
        let share = bound.seconds / seconds;
        Self {
            probed,
            tokens_per_second: tokens_per_second / share,
            seconds: bound.seconds,
            percent: 100.0 * share,
            limited_by: bound.limit,
        }
    }
}

/// The CPUs that the program runs on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cpus {
    /// The number of CPUs that the system offers.
    pub cpus: usize,
    /// The number of CPUs whose time the control group allows; `None` without a limit.
    pub cpu_limit: Option<f64>,
}

impl Cpus {
    /// Returns those of this process.
    pub fn here() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cpus, cpu_limit: cpu_limit() }
    }

    /// Returns what may make the speeds of `threads` threads lower than those of the machine.
    #[must_use]
    pub fn notes(self, threads: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let plural = if threads == 1 { "" } else { "s" };
        if let Some(limit) = self.cpu_limit.filter(|&limit| limit < threads as f64) {
            notes.push(format!(
                "the control group allows {limit} CPUs for {threads} thread{plural}: the system stops work in turns, and speeds vary"
            ));
        } else if threads > self.cpus {
            notes.push(format!("{threads} threads share {} CPUs: they wait for each other", self.cpus));
        }
        notes
    }
}

/// The probes and counters of a machine.
pub struct Machine {
    threads: usize,
    /// `None` on a GPU, whose limits are not probed.
    work: Option<Work>,
    last: Option<Ceilings>,
    pub energy: Result<Energy, String>,
}

impl Machine {
    /// Prepares the probes for a model on a device.
    pub fn new(
        checkpoint: &Checkpoint,
        planned: &Plan,
        runner: &dyn Runner,
        run: &RunOptions,
        is_gpu: bool,
    ) -> Result<Self, Error> {
        let work = if is_gpu { None } else { Some(work(checkpoint, planned, runner, run)?) };
        Ok(Self { threads: run.worker_threads(), work, last: None, energy: Energy::of_machine() })
    }

    /// Probes the limits, and returns the larger ones of this and the last probe; `None` on a GPU.
    pub fn probe(&mut self) -> Option<Ceilings> {
        self.work?;
        let now = Ceilings::probe(self.threads);
        let last = self.last.replace(now);
        Some(last.map_or(now, |last| now.or(last)))
    }

    /// Returns the least time of a test.
    pub fn bound(&self, test: &Test, ceilings: &Ceilings) -> Option<Bound> {
        self.work.map(|work| work.bound(test, ceilings))
    }
}

/// Sums the work of the model's steps.
fn work(checkpoint: &Checkpoint, planned: &Plan, runner: &dyn Runner, run: &RunOptions) -> Result<Work, Error> {
    let blueprint = checkpoint.blueprint();
    let mut work = Work::default();
    let tied = blueprint.tree.output_matrix().name;
    // The plan lists the weights in the order of the tree.
    for (slot, tensor) in blueprint.tree.slots().zip(&planned.tensors) {
        let module = blueprint.module(slot)?;
        let products = match (module.kind, slot.layer) {
            (Kind::Linear, Some(_)) => &mut work.layers,
            (_, None) if module.name == tied => &mut work.output,
            _ => continue,
        };
        let operations = 2 * (module.shape[0] * module.shape[1]) as u64;
        let int8 = run.compute == Compute::Fast && has_int8_kernel(checkpoint.encoding(slot)?, module.shape[1]);
        add(products, tensor.memory_bytes, operations, int8);
    }
    // Whole pages, so that a token has its share of one.
    let pages = runner.cache_spec().page_len;
    work.cache_bytes = (runner.sequence_bytes(pages.min(runner.context())) / pages.max(1)) as u64;
    Ok(work)
}

fn add(products: &mut Products, bytes: u64, operations: u64, int8: bool) {
    products.weight_bytes += bytes;
    *(if int8 { &mut products.int8_operations } else { &mut products.f32_operations }) += operations;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lowers_speeds_is_said() {
        let cpus = |cpus, cpu_limit| Cpus { cpus, cpu_limit };
        assert!(cpus(2, None).notes(2).is_empty() && cpus(2, Some(2.0)).notes(1).is_empty());
        assert!(cpus(2, None).notes(200)[0].contains("200 threads share 2 CPUs"));
        assert!(cpus(1, Some(0.5)).notes(1)[0].contains("allows 0.5 CPUs for 1 thread:"));
    }
}
