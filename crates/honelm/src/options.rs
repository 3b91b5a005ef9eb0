//! Options and events that all jobs share.

use std::path::PathBuf;

use honelm_backend::CacheType;
use honelm_cpu::{Compute, CpuBackend, CpuOptions, MOST_THREADS, default_threads};
use honelm_engine::Speculate;
use honelm_plan::Place;

use crate::{DeviceChoice, Error};

/// The options for running a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// The device.
    pub device: DeviceChoice,
    /// The number of threads, at most [`MOST_THREADS`]; `None` is one per CPU, without efficiency cores.
    pub threads: Option<usize>,
    /// The context in tokens; `None` is the model's own, but at most 8192.
    pub context: Option<usize>,
    /// The CPU kernels: the fast ones, or everything in f32.
    pub compute: Compute,
    /// The number format of the key-value cache.
    pub cache_type: CacheType,
    /// `true` to read the texts of special tokens in messages as these tokens; otherwise they are ordinary text.
    pub parse_special: bool,
    /// The unknown fields of a model's configuration to ignore, by the names that the error shows. Any other unknown
    /// field is an error.
    pub allow_unknown: Vec<String>,
    /// The source of the drafts with which a step writes several tokens of an answer. On the CPU, none changes an answer.
    pub speculate: Speculate,
    /// A smaller model that writes drafts: a folder or a GGUF file.
    pub draft: Option<PathBuf>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            device: DeviceChoice::Auto,
            threads: None,
            context: None,
            compute: Compute::Fast,
            cache_type: CacheType::F16,
            parse_special: false,
            allow_unknown: Vec::new(),
            speculate: Speculate::Auto,
            draft: None,
        }
    }
}

impl RunOptions {
    /// Returns a CPU back end. Compression and output layers use it whatever the device.
    #[must_use]
    pub fn cpu(&self) -> CpuBackend {
        CpuBackend::new(CpuOptions { threads: self.threads, compute: self.compute, isa: None })
    }

    /// Returns the options with [`DeviceChoice::Auto`] replaced by the CPU, for figures that must not depend on a
    /// trial.
    #[must_use]
    pub fn steady(&self) -> Self {
        let device = if self.device == DeviceChoice::Auto { DeviceChoice::Cpu } else { self.device };
        Self { device, ..self.clone() }
    }

    /// Returns the place that memory is planned for. [`DeviceChoice::Auto`] counts as the CPU.
    #[must_use]
    pub fn place(&self) -> Place {
        match self.device {
            DeviceChoice::Gpu(_) => Place::Gpu,
            DeviceChoice::Auto | DeviceChoice::Cpu => Place::Cpu(self.compute),
        }
    }

    /// Checks that drafts have a source.
    ///
    /// # Errors
    /// [`Error::Usage`] for drafts of a model that is not given, and for one that would not be used.
    pub fn check_draft(&self) -> Result<(), Error> {
        let problem = match (self.speculate, &self.draft) {
            (Speculate::Draft, None) => "drafts of a model need that model: found no --draft MODEL",
            (Speculate::Off | Speculate::Ngram, Some(_)) => {
                "the draft model would not be used: found --speculate off or ngram, expected draft or auto"
            }
            _ => return Ok(()),
        };
        Err(Error::Usage(problem.to_owned()))
    }

    /// Returns the number of threads for work outside the device.
    #[must_use]
    pub fn worker_threads(&self) -> usize {
        self.threads.unwrap_or_else(default_threads).min(MOST_THREADS)
    }
}

/// A progress report or a warning of a long job.
#[derive(Debug)]
pub enum Event<'a> {
    /// The progress of a stage: `done` of `total` steps, which take about the same time each. Another name begins
    /// another stage.
    Stage {
        /// The name of the stage: `Q4_0: quantising`, `original: scoring`.
        name: &'a str,
        /// A detail of the current step, for example `layer 3 of 8: gate, up`; may be empty.
        detail: &'a str,
        /// The number of finished steps.
        done: usize,
        /// The number of all steps.
        total: usize,
    },
    /// The progress of a transfer: `done` of `total` bytes. Another name begins another stage.
    Transfer {
        /// The name of the transfer: `fetching org/repo`.
        name: &'a str,
        /// The current file; may be empty.
        detail: &'a str,
        /// The number of bytes transferred.
        done: u64,
        /// The number of all bytes.
        total: u64,
    },
    /// A warning for the user.
    Warning(&'a str),
}

/// Receives events. A return value of `false` stops the job, which then returns [`crate::Error::Interrupted`].
pub type Events<'a> = &'a mut dyn FnMut(&Event<'_>) -> bool;
