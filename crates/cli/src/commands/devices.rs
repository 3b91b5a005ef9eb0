//! `honelm devices`: the devices that can run models.

use clap::Args;
use honelm::{DeviceTest, GpuDevice};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{help, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm devices", ""),
            ("honelm devices -v", "with the limits and features of every GPU"),
            ("honelm devices --json", ""),
        ],
        &[
            "Before a GPU runs a model, its kernels are tested on inputs with known answers, and a kernel that fails is \
           replaced by a simpler one. The result is kept for this adapter and driver version.",
        ],
    )
}

/// List the CPU and the GPUs, and test the GPUs' kernels
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Devices {}

impl Devices {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let mut progress = Progress::new(global);
        let found = honelm::devices(global.threads, &mut |event| progress.event(event))?;
        progress.finish();
        if global.json {
            output::json(&found)?;
        } else {
            output::write(&text(&found, global.verbose > 0))?;
        }
        Ok(0)
    }
}

fn text(found: &honelm::Devices, all: bool) -> String {
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), honelm::units::bytes);
    let cpu = &found.cpu;
    let mut rows = vec![vec![
        "cpu".to_owned(),
        cpu.name.clone().unwrap_or_else(|| "CPU".to_owned()),
        cpu.instruction_set.clone(),
        format!("{} threads", cpu.threads),
        size(cpu.memory_bytes),
        "-".to_owned(),
    ]];
    for gpu in &found.gpus {
        let report = &gpu.report;
        rows.push(vec![
            format!("gpu:{}", report.index),
            report.name.clone(),
            report.api.clone(),
            kind(gpu).to_owned(),
            size(gpu.memory_bytes),
            verdict(&gpu.test).to_owned(),
        ]);
    }
    let mut out = output::fitted(output::table(&["device", "name", "runs", "type", "memory", "test"], &rows));
    out.push('\n');
    if found.gpus.is_empty() {
        out.push_str("\nNo GPU was found. If this machine has one, install its Vulkan, Metal or DX12 driver.\n");
    }
    for gpu in &found.gpus {
        let facts = facts(gpu, all);
        if !facts.is_empty() {
            out.push_str(&format!("\ngpu:{}\n{}", gpu.report.index, output::facts(&facts)));
        }
    }
    out
}

fn kind(gpu: &GpuDevice) -> &'static str {
    match gpu.report.kind {
        honelm::AdapterKind::Discrete => "discrete",
        honelm::AdapterKind::Integrated => "integrated",
        honelm::AdapterKind::Virtual => "virtual",
        honelm::AdapterKind::Software => "software",
        honelm::AdapterKind::Unknown => "unknown",
    }
}

fn verdict(test: &DeviceTest) -> &'static str {
    match test {
        DeviceTest { passed: false, .. } => "refused",
        DeviceTest { demoted, .. } if !demoted.is_empty() => "passed in part",
        DeviceTest { .. } => "passed",
    }
}

/// Describes the chosen way to sum over a workgroup, and the times of both.
fn sums(sums: Option<honelm::Sums>) -> String {
    let Some(sums) = sums else { return "by workgroup memory".to_owned() };
    let text = |name: &str, nanoseconds: u64| format!("by {name} {:.2} ms", nanoseconds as f64 / 1e6);
    let (subgroups, memory) = (text("subgroups", sums.by_subgroups), text("workgroup memory", sums.by_memory));
    if sums.variants().subgroups { format!("{subgroups} ({memory})") } else { format!("{memory} ({subgroups})") }
}

/// Returns the problems of a GPU and, with `all`, its properties.
fn facts(gpu: &GpuDevice, all: bool) -> Vec<(&'static str, String)> {
    let (report, test, size) = (&gpu.report, &gpu.test, honelm::units::bytes);
    let mut facts = Vec::new();
    if all {
        let has = |feature: bool| if feature { "yes" } else { "no" }.to_owned();
        let subgroups = |(least, most): (u32, u32)| {
            if least == most { format!("of {most}") } else { format!("of {least} to {most}") }
        };
        facts.extend([
            ("driver", report.driver.clone()),
            ("largest buffer", size(report.max_buffer)),
            ("largest binding", size(report.max_binding)),
            ("workgroup", format!("{} threads, {}", report.workgroup_threads, size(report.workgroup_memory.into()))),
            ("half precision", has(report.f16)),
            ("subgroups", report.subgroups.map_or_else(|| "no".to_owned(), subgroups)),
            ("packed dot", has(report.packed_dot)),
            ("timestamps", has(report.timestamps)),
            ("sums", sums(test.sums)),
            ("answers", format!("{} right in {:.2} s", test.answers, test.seconds)),
        ]);
    }
    facts.extend(test.demoted.iter().map(|demotion| ("replaced", format!("{}\n{}", demotion.what, demotion.why))));
    facts.extend(test.problem.iter().map(|problem| ("refused", problem.clone())));
    facts
}
