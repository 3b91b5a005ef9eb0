//! `honelm devices`: what can run models here.

use clap::Args;
use honelm::{DeviceTest, GpuDevice};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  honelm devices
  honelm devices -v           limits and features of every GPU
  honelm devices --json

Every GPU is tested before it runs a model: each kernel must give known answers, and a plainer one takes its place where
it does not. What was found is remembered for the adapter and its driver.";

/// Show the processor and the GPUs, their memory, and whether their kernels give right answers
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Devices {}

impl Devices {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let mut progress = Progress::new(global);
        let found =
            honelm::devices(global.threads.map(std::num::NonZeroUsize::get), &mut |event| progress.event(event))?;
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
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "not known".to_owned(), honelm::optimize::bytes);
    let cpu = &found.cpu;
    let mut rows = vec![vec![
        "cpu".to_owned(),
        cpu.name.clone().unwrap_or_else(|| "processor".to_owned()),
        cpu.instruction_set.clone(),
        format!("{} threads", cpu.threads),
        size(cpu.memory_bytes),
        "always".to_owned(),
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
    let mut out = output::fitted(output::table(&["device", "name", "runs", "type", "memory", "tested"], &rows));
    out.push('\n');
    if found.gpus.is_empty() {
        out.push_str("\nNo GPU was found: install a Vulkan, Metal or DX12 driver if there is one.\n");
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
        honelm::AdapterKind::Unknown => "not known",
    }
}

fn verdict(test: &DeviceTest) -> &'static str {
    match test {
        DeviceTest { passed: false, .. } => "refused",
        DeviceTest { demoted, .. } if !demoted.is_empty() => "passed, demoted",
        DeviceTest { .. } => "passed",
    }
}

/// Which sums run, and how long both took.
fn sums(sums: Option<honelm::Sums>) -> String {
    let Some(sums) = sums else { return "by the workgroup's memory".to_owned() };
    let text = |name: &str, nanoseconds: u64| format!("by {name} {:.2} ms", nanoseconds as f64 / 1e6);
    let (subgroups, memory) = (text("subgroups", sums.by_subgroups), text("the workgroup's memory", sums.by_memory));
    if sums.variants().subgroups { format!("{subgroups} ({memory})") } else { format!("{memory} ({subgroups})") }
}

/// What went wrong; with `all`, what else is known.
fn facts(gpu: &GpuDevice, all: bool) -> Vec<(&'static str, String)> {
    let (report, test, size) = (&gpu.report, &gpu.test, honelm::optimize::bytes);
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
    facts.extend(test.demoted.iter().map(|demotion| ("demoted", format!("{}\n{}", demotion.what, demotion.why))));
    facts.extend(test.problem.iter().map(|problem| ("refused", problem.clone())));
    facts
}
