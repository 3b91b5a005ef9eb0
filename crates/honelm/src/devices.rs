//! What can run models here: the processor and every GPU, each GPU tested.

use std::fs;
use std::time::Instant;

use honelm_backend::{CacheType, block_on};
use honelm_blocks::ScaleType;
use honelm_cpu::Isa;
use honelm_gpu::pack::{CodeBits, GroupLayout, GroupZeros, Layout};
use honelm_gpu::{AdapterKind, AdapterReport, Demotion, Gpu, Needed, Sums};
use serde::Serialize;

use crate::trust::trusted;
use crate::{Error, Events};

/// All devices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Devices {
    /// The processor.
    pub cpu: CpuDevice,
    /// The GPUs, the one that is taken by default first.
    pub gpus: Vec<GpuDevice>,
}

/// The processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CpuDevice {
    /// Its name, where the platform tells.
    pub name: Option<String>,
    /// Instruction set of the kernels.
    pub instruction_set: String,
    /// Threads that run by default.
    pub threads: usize,
    /// The machine's memory, where the platform tells.
    pub memory_bytes: Option<u64>,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuDevice {
    /// What its driver says of it.
    #[serde(flatten)]
    pub report: AdapterReport,
    /// Its memory, where the platform tells; the machine's where it has none of its own.
    pub memory_bytes: Option<u64>,
    /// Whether its kernels give right answers.
    pub test: DeviceTest,
}

/// The result of the known-answer test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceTest {
    /// Whether models may run on it.
    pub passed: bool,
    /// Answers that were right.
    pub answers: usize,
    /// Which sums are faster, where there was a choice.
    pub sums: Option<Sums>,
    /// Kernel variants that were not, and why.
    pub demoted: Vec<Demotion>,
    /// Why models may not run on it.
    pub problem: Option<String>,
    /// How long it took; what an earlier test found takes next to none.
    pub seconds: f64,
}

/// Looks for devices and tests them; `events` is told how far that is.
///
/// # Errors
/// [`Error::Interrupted`] where `events` says so.
pub fn devices(threads: Option<usize>, events: Events<'_>) -> Result<Devices, Error> {
    let memory = machine_memory();
    let gpu = |report: AdapterReport| -> Result<GpuDevice, Error> {
        Ok(GpuDevice { memory_bytes: memory_of(&report), test: test(report.index, events)?, report })
    };
    let default_threads = || std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Devices {
        cpu: CpuDevice {
            name: cpu_name(),
            instruction_set: Isa::detect().name().to_owned(),
            threads: threads.unwrap_or_else(default_threads),
            memory_bytes: memory,
        },
        gpus: block_on(Gpu::adapters()).into_iter().map(gpu).collect::<Result<_, _>>()?,
    })
}

/// The kernels of most models; those of others are tested when such a model is loaded.
fn most_models() -> Needed {
    let group =
        GroupLayout { bits: CodeBits::Four, group_size: 128, scale_type: ScaleType::F16, zeros: GroupZeros::Integer };
    let layouts = [Layout::F16, Layout::Q8_0, Layout::Q4_0, Layout::Q4K, Layout::Q6K, Layout::Groups(group)];
    Needed { layouts: layouts.to_vec(), caches: vec![CacheType::F16] }
}

fn test(index: usize, events: Events<'_>) -> Result<DeviceTest, Error> {
    let start = Instant::now();
    let opened = block_on(Gpu::open(Some(index))).map_err(Error::from);
    let result = opened.and_then(|gpu| trusted(&gpu, &most_models(), events));
    let seconds = start.elapsed().as_secs_f64();
    match result {
        Ok(trust) => Ok(DeviceTest {
            passed: true,
            answers: trust.answers,
            sums: trust.sums,
            demoted: trust.demoted,
            problem: None,
            seconds,
        }),
        Err(Error::Interrupted) => Err(Error::Interrupted),
        Err(error) => Ok(DeviceTest {
            passed: false,
            answers: 0,
            sums: None,
            demoted: Vec::new(),
            problem: Some(error.to_string()),
            seconds,
        }),
    }
}

/// The memory of a GPU, where the platform tells; the machine's where it has none of its own.
pub(crate) fn memory_of(report: &AdapterReport) -> Option<u64> {
    match report.kind {
        AdapterKind::Integrated | AdapterKind::Software => machine_memory(),
        _ => report.own_memory,
    }
}

/// The value of a line `name: value` of a file of Linux.
fn line(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

fn machine_memory() -> Option<u64> {
    let kibibytes: u64 = line("/proc/meminfo", "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn cpu_name() -> Option<String> {
    line("/proc/cpuinfo", "model name")
}
