use honelm_backend::CacheType;
use honelm_cpu::{Compute, CpuBackend, CpuOptions, MOST_THREADS};
use honelm_plan::Place;

use crate::DeviceChoice;

/// How a model is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// Where models run.
    pub device: DeviceChoice,
    /// Threads, [`MOST_THREADS`] at most; `None` takes one a processor.
    pub threads: Option<usize>,
    /// Context in tokens; `None` takes the model's own, at most 8192.
    pub context: Option<usize>,
    /// The fast kernels that users run, or everything in f32.
    pub compute: Compute,
    /// Number type of the key-value cache.
    pub cache_type: CacheType,
    /// Whether texts of special tokens in the messages of a conversation are these tokens; else they are text.
    pub parse_special: bool,
    /// Fields of a model's configuration that are ignored although they are not known, as refusals name them.
    pub allow_unknown: Vec<String>,
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
        }
    }
}

impl RunOptions {
    /// The processor as a device: for compression and proof, which run there whatever models run on.
    #[must_use]
    pub fn cpu(&self) -> CpuBackend {
        CpuBackend::new(CpuOptions { threads: self.threads, compute: self.compute, isa: None })
    }

    /// The same for work whose figures must not hang on what is faster here: the processor where no device is named.
    #[must_use]
    pub fn steady(&self) -> Self {
        let device = if self.device == DeviceChoice::Auto { DeviceChoice::Cpu } else { self.device };
        Self { device, ..self.clone() }
    }

    /// Where memory is planned for; the processor where no device is named.
    #[must_use]
    pub fn place(&self) -> Place {
        match self.device {
            DeviceChoice::Gpu(_) => Place::Gpu,
            DeviceChoice::Auto | DeviceChoice::Cpu => Place::Cpu(self.compute),
        }
    }

    /// Threads that work outside the device may use.
    #[must_use]
    pub fn worker_threads(&self) -> usize {
        let threads = self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        threads.min(MOST_THREADS)
    }
}

/// What long work tells its caller.
#[derive(Debug)]
pub enum Event<'a> {
    /// Where it stands: `done` of `total` steps of a stage. A new name begins a new stage.
    Stage {
        /// What is being done: `Q4_0: quantising`, `original: scoring`.
        name: &'a str,
        /// A detail of the step at hand, e.g. `layer 3 of 8: gate, up`; may be empty.
        detail: &'a str,
        /// Finished steps.
        done: usize,
        /// All steps.
        total: usize,
    },
    /// Where a transfer stands: `done` of `total` bytes. A new name begins a new stage.
    Transfer {
        /// What is being done: `fetching org/repo`.
        name: &'a str,
        /// The file at hand; may be empty.
        detail: &'a str,
        /// Bytes that are here.
        done: u64,
        /// All bytes.
        total: u64,
    },
    /// Something the user should know.
    Warning(&'a str),
}

/// Receives events; returns false to stop the work (Ctrl-C), which then ends with [`crate::Error::Interrupted`].
pub type Events<'a> = &'a mut dyn FnMut(&Event<'_>) -> bool;
