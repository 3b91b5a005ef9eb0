//! The memory of a session in a browser, token by token.

use serde_json::{Value, json};

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop, browser};

pub const PART: Part = Part {
    name: "growth",
    claim: "in a browser, the cache grows by whole pages as calculated, and nothing else makes the wasm heap grow",
    needs: "node with npm, Chromium, a wasm32 target",
    run,
};

/// The number of tokens, more than a page has positions.
const TOKENS: usize = 100;

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let file = context.scratch("growth")?.join("pocket-q4_0.gguf");
    let path = file.to_string_lossy();
    context.document(&["quantize", "pocket", "--to", "q4_0", "-o", &*path, "--quiet"])?;
    for (place, device) in [("the CPU", "cpu"), ("the GPU", "gpu")] {
        report.lines(place, |report| {
            let tokens = context.or_quick(TOKENS, 4);
            let found = browser::run(context, "measure", &json!({"model": file, "device": device, "tokens": tokens}))?;
            growth(report, place, &found)
        });
    }
    Ok(())
}

fn growth(report: &mut Report<'_>, place: &str, found: &Value) -> Result<(), Stop> {
    let samples = found["samples"].as_array().cloned().unwrap_or_default();
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return Err(Stop::Failed(format!("found no samples in {found}")));
    };
    let model = &found["model"];
    let positions = number(found, "prompt_tokens")? + samples.len() as f64 - 1.0;
    let pages = (positions / number(model, "page_positions")?).ceil();
    let device = &last["memory"]["device"];
    let calculated = pages * number(model, "page_bytes")?;
    report.equal(&format!("{place}: cache of {pages} pages"), device["cache"].to_string(), calculated.to_string());
    let weights = [first, last].map(|sample| sample["memory"]["device"]["weights"].to_string());
    let [before, after] = weights;
    report.equal(&format!("{place}: weights at the end as at the start"), after, before);
    // On the CPU the cache is part of the heap, which grows in steps of 64 KiB.
    let own = if model["device"] == "cpu" { calculated } else { 0.0 };
    let heap = number(&last["memory"], "wasm_heap")? - number(&first["memory"], "wasm_heap")?;
    report.at_most(&format!("{place}: growth of the wasm heap"), heap, own + 65536.0, Unit::Megabytes);
    Ok(())
}
