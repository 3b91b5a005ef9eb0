//! The list of devices. Every GPU is tested.

use std::time::Instant;

use honelm_backend::{CacheType, block_on};
use honelm_blocks::ScaleType;
use honelm_cpu::{Isa, default_threads};
use honelm_gpu::pack::{CodeBits, GroupLayout, GroupZeros, Layout};
use honelm_gpu::{AdapterKind, AdapterReport, Demotion, Gpu, Needed, Sums};
use serde::Serialize;

use super::machine::{cpu_name, machine_memory};
use super::trust::trusted;
use crate::{Error, Events};

/// All devices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Devices {
    /// The CPU.
    pub cpu: CpuDevice,
    /// The GPUs; the first one is the default.
    pub gpus: Vec<GpuDevice>,
}

/// The CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CpuDevice {
    /// The name, if the platform reports one.
    pub name: Option<String>,
    /// The instruction set of the kernels.
    pub instruction_set: String,
    /// The default number of threads.
    pub threads: usize,
    /// The size of the main memory, if the platform reports it.
    pub memory_bytes: Option<u64>,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuDevice {
    /// The adapter as its driver reports it.
    #[serde(flatten)]
    pub report: AdapterReport,
    /// The size of its memory, if the platform reports it; the main memory's for a GPU without its own.
    pub memory_bytes: Option<u64>,
    /// The result of the known-answer test.
    pub test: DeviceTest,
}

/// The result of the known-answer test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceTest {
    /// `true` if models may run on the device.
    pub passed: bool,
    /// The number of right answers.
    pub answers: usize,
    /// The faster way of summing, if the device has several.
    pub sums: Option<Sums>,
    /// The kernel variants that gave wrong answers and are not used.
    pub demoted: Vec<Demotion>,
    /// The reason why models may not run on the device.
    pub problem: Option<String>,
    /// The duration of the test; close to 0 if the result is remembered.
    pub seconds: f64,
}

/// Lists the devices of this machine and tests the GPUs.
///
/// # Errors
/// [`Error::Interrupted`] if `events` returns `false`.
pub fn devices(threads: Option<usize>, events: Events<'_>) -> Result<Devices, Error> {
    let memory = machine_memory();
    let gpu = |report: AdapterReport| -> Result<GpuDevice, Error> {
        Ok(GpuDevice { memory_bytes: memory_of(&report), test: test(report.index, events)?, report })
    };
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

/// Returns the kernels that most models need. The others are tested when a model that needs them is loaded.
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

/// Returns the size of a GPU's memory in bytes, if the platform reports it; the main memory's for a GPU without its
/// own.
pub(crate) fn memory_of(report: &AdapterReport) -> Option<u64> {
    match report.kind {
        AdapterKind::Integrated | AdapterKind::Software => machine_memory(),
        _ => report.own_memory,
    }
}
