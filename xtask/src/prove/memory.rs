//! The peak memory of a 1B model, compared with the planner's figure.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::Value;

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "memory",
    claim: "the peak memory of a 1B model is what the planner predicts: run, eval --against, quantize --calibration",
    needs: "Linux for peak memory, 4 GB of memory, 5 GB of disk",
    run,
};

const SHAPE: &str = "llama-3.2-1b";
/// The largest ratio of the peak to the planner's figure.
const TOLERANCE: f64 = 1.05;
/// The memory that the planner leaves out: the program itself, and a tokenizer with 128,256 tokens.
const OVERHEAD: f64 = 100e6;
/// The number of tokens per sample.
const LENGTH: &str = "512";

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let folder = context.scratch("memory")?;
    let (small, original) = (folder.join("q4_0.gguf"), folder.join("f16.gguf"));
    make(context, SHAPE, "q4_0", None, &small)?;
    running(context, report, &small.to_string_lossy())?;
    let layers = context.or_quick(None, Some(4));
    if layers.is_some() {
        make(context, SHAPE, "q4_0", layers, &small)?;
    }
    make(context, SHAPE, "f16", layers, &original)?;
    measuring(context, report, &small, &original)?;
    // The whole model would take half an hour, and every layer takes the same memory.
    make(context, SHAPE, "f16", Some(context.or_quick(4, 1)), &original)?;
    compressing(context, report, &original, &folder.join("out.gguf"))
}

fn running(context: &Context, report: &mut Report<'_>, model: &str) -> Result<(), Stop> {
    let run = ["run", model, "--raw", "-p", "Once upon a time", "-n", "8", "--ignore-eos", "--quiet"];
    let place = ["--device", "cpu", "--context", LENGTH];
    let (_, peak) = context.measured(&[&run[..], &place].concat())?;
    let planned = context.document(&[&["inspect", model][..], &place].concat())?;
    compare(report, "run, Q4_0", peak, number(&planned["memory"][0], "total_bytes")?);
    Ok(())
}

fn measuring(context: &Context, report: &mut Report<'_>, model: &Path, original: &Path) -> Result<(), Stop> {
    let [model_path, original_path] = [model, original].map(Path::to_string_lossy);
    let eval = ["eval", &*model_path, "--against", &*original_path, "--chunks", "2", "--quiet"];
    let (_, peak) = context.measured(&eval)?;
    let planned = plan(context, model, original, "16")?;
    compare(report, "eval --against, Q4_0 and F16", peak, number(&planned, "eval_bytes")?);
    Ok(())
}

fn compressing(context: &Context, report: &mut Report<'_>, model: &Path, out: &Path) -> Result<(), Stop> {
    let samples = context.or_quick("16", "2");
    let text = context.root.join("crates/honelm/data/calibration.jsonl");
    let [model_path, out, text] = [model, out, &text].map(Path::to_string_lossy);
    let quantize = ["quantize", &*model_path, "--to", "q4_0", "-o", &*out, "--quiet"];
    let calibration = ["--calibration", &*text, "--samples", samples, "--length", LENGTH];
    let (_, peak) = context.measured(&[&quantize[..], &calibration].concat())?;
    let planned = plan(context, model, model, samples)?;
    let what = format!("quantize --calibration, {samples} samples");
    compare(report, &what, peak, number(&planned, "calibration_bytes")?);
    Ok(())
}

fn compare(report: &mut Report<'_>, what: &str, peak: f64, planned: f64) {
    let name = format!("{what} (planned {:.0} MB)", planned / 1e6);
    report.at_most(&name, peak, TOLERANCE * planned + OVERHEAD, Unit::Megabytes);
}

/// Writes a model with random weights of the given shape, with so many of its layers.
pub fn make(context: &Context, shape: &str, encoding: &str, layers: Option<usize>, out: &Path) -> Result<(), Stop> {
    let layers = layers.map(|layers| layers.to_string());
    let mut variables: Vec<(&str, &OsStr)> = vec![
        ("HONELM_PROOF_SHAPE", shape.as_ref()),
        ("HONELM_PROOF_ENCODING", encoding.as_ref()),
        ("HONELM_PROOF_OUT", out.as_os_str()),
    ];
    variables.extend(layers.iter().map(|layers| ("HONELM_PROOF_LAYERS", layers.as_ref())));
    context.test("honelm-model", "made_up", "a_made_up_model_is_written", &variables).map(drop)
}

/// Returns the planner's figures for `eval --against` and `quantize --calibration`.
fn plan(context: &Context, model: &Path, base: &Path, samples: &str) -> Result<Value, Stop> {
    let variables = [
        ("HONELM_PROOF_MODEL", model.as_os_str()),
        ("HONELM_PROOF_BASE", base.as_os_str()),
        ("HONELM_PROOF_SAMPLES", samples.as_ref()),
    ];
    context.test("honelm", "evaluation", "the_plan_of_a_comparison_and_a_calibration", &variables)
}
