//! The circumstances of a job: when, where and by which command it was started.

use std::time::{SystemTime, UNIX_EPOCH};

use honelm_cpu::Isa;
use honelm_text::Clock;
use serde::{Deserialize, Serialize};

use crate::RunOptions;
use crate::device::{cpu_name, machine_memory, operating_system};

/// The machine that a job ran on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The CPU's name, if the platform reports one.
    pub cpu: Option<String>,
    /// The number of threads that the job used.
    pub threads: usize,
    /// The instruction set of the CPU kernels, for example `avx2`.
    pub instruction_set: String,
    /// The operating system and the architecture, for example `Debian GNU/Linux 12 (linux, x86_64)`.
    pub system: String,
    /// The size of the main memory in bytes, if the platform reports it.
    pub memory_bytes: Option<u64>,
}

impl Machine {
    /// Describes this machine as `run` uses it.
    fn here(run: &RunOptions) -> Self {
        Self {
            cpu: cpu_name(),
            threads: run.worker_threads(),
            instruction_set: Isa::detect().name().to_owned(),
            system: operating_system(),
            memory_bytes: machine_memory(),
        }
    }

    /// Returns the machine in one line.
    pub(super) fn describe(&self) -> String {
        let Self { cpu, threads, instruction_set, system, memory_bytes } = self;
        let cpu = cpu.as_deref().unwrap_or("CPU of unknown name");
        let plural = if *threads == 1 { "" } else { "s" };
        let memory = memory_bytes.map_or_else(String::new, |n| format!(", {} of memory", crate::units::bytes(n)));
        format!("{cpu}, {threads} thread{plural}, instruction set {instruction_set}{memory}; {system}")
    }
}

/// The circumstances of a job. They are saved when it starts, so that a resumed run reports those of the first run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Circumstances {
    /// The time of the start in UTC, in ISO 8601 form.
    pub date: String,
    /// The command line, if the caller gave one.
    pub command: Option<String>,
    pub machine: Machine,
    /// The back end and the kernels that scored the original, as [`honelm_model::Runner::describe`] names them.
    pub back_end: String,
}

impl Circumstances {
    pub(super) fn now(run: &RunOptions, command: Option<String>, back_end: String) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = Clock::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), 0);
        Self { date: clock.strftime("%Y-%m-%dT%H:%M:%SZ"), command, machine: Machine::here(run), back_end }
    }
}
