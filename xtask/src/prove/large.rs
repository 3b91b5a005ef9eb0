//! A file of 400 MB is loaded onto the GPU in slabs.

use serde_json::json;

use super::context::{Context, number};
use super::memory::make;
use super::report::{Report, Unit};
use super::{Part, Stop, browser};

pub const PART: Part = Part {
    name: "large",
    claim: "a 400 MB GGUF file loads onto the GPU without being in memory as a whole: wasm heap, peak memory of the process",
    needs: "a GPU adapter; node with npm, Chromium, a wasm32 target",
    run,
};

const SIZE_BOUND: f64 = 390e6;
/// The largest wasm heap, including the tokenizer.
const HEAP_BOUND: f64 = 150e6;
/// The largest memory of the process beyond the GPU's.
const HOST_BOUND: f64 = 200e6;

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let file = context.scratch("large")?.join("large.gguf");
    make(context, "400mb", "q8_0", context.or_quick(None, Some(2)), &file)?;
    let size = file.metadata().map_err(|e| format!("{}: {e}", file.display()))?.len() as f64;
    if !context.quick {
        report.at_least("size of the file", size, SIZE_BOUND, Unit::Megabytes);
    }
    report.lines("in a browser", |report| {
        let found = browser::run(context, "memory", &json!({"model": file, "device": "gpu"}))?;
        report.at_least("in a browser: weights on the GPU", number(&found, "weights")?, 0.9 * size, Unit::Megabytes);
        report.at_most("in a browser: wasm heap", number(&found, "wasm_heap")?, HEAP_BOUND, Unit::Megabytes);
        Ok(())
    });
    report.lines("natively", |report| {
        context.needs_gpu()?;
        let path = file.to_string_lossy();
        let bench = ["bench", &*path, "--device", "gpu", "-p", "8", "-n", "0", "-r", "1", "--quiet"];
        let found = context.document(&bench)?;
        let gpu = number(&found, "gpu_memory_bytes")?;
        let Some(peak) = found["peak_memory_bytes"].as_f64() else { return Err(Stop::Needs("Linux".to_owned())) };
        // The memory of a software GPU is part of the process.
        let software = found["device"].as_str().is_some_and(|device| device.contains("llvmpipe"));
        let own = if software { peak - gpu } else { peak };
        report.at_least("natively: memory of the GPU", gpu, 0.9 * size, Unit::Megabytes);
        report.at_most("natively: memory of the process beyond it", own, HOST_BOUND, Unit::Megabytes);
        Ok(())
    });
    Ok(())
}
