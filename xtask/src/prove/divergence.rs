//! The divergence of quantised models on each device from the same models in single precision on the CPU.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop, browser};

pub const PART: Part = Part {
    name: "divergence",
    claim: "on every device, quantised models compute what they compute in single precision on the CPU: KL divergence, changed tokens",
    needs: "a GPU adapter; node with npm, Chromium, a wasm32 target; HONELM_TEST_DATA for the larger model",
    run,
};

/// The largest mean divergence where activations remain floats.
const FLOAT_BOUND: f64 = 1e-4;
/// The largest percentage of clear positions whose token 8-bit activations may change.
const CHANGED_BOUND: f64 = 2.0;

const ENCODINGS: [&str; 4] = ["q4_0", "q5_0", "q4_k", "gptq"];

/// A model, the largest mean divergence that 8-bit activations may cause, and whether to test it on the GPU in a
/// browser. On a software GPU, the larger model would take hours.
struct Subject {
    name: &'static str,
    path: PathBuf,
    fast_bound: f64,
    on_webgpu: bool,
}

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let folder = context.scratch("divergence")?;
    let pocket = Subject { name: "pocket", path: context.pocket(), fast_bound: 8e-4, on_webgpu: true };
    of_model(context, report, &folder, &pocket)?;
    report.lines("reference", |report| {
        let path = context.data("models/reference")?;
        let reference = Subject { name: "reference", path, fast_bound: 5e-4, on_webgpu: false };
        of_model(context, report, &folder, &reference)
    });
    Ok(())
}

fn of_model(context: &Context, report: &mut Report<'_>, folder: &Path, subject: &Subject) -> Result<(), Stop> {
    for encoding in context.or_quick(&ENCODINGS[..], &ENCODINGS[..1]) {
        let out = folder.join(format!("{}-{encoding}{}", subject.name, if *encoding == "gptq" { "" } else { ".gguf" }));
        quantize(context, &subject.path, encoding, &out)?;
        let native = |device: &str, compute: &str| native(context, &out, device, compute);
        let in_browser = |device: &str| in_browser(context, &out, device);
        type Place<'a> = (&'a str, bool, &'a dyn Fn() -> Result<Value, Stop>);
        let places: [Place<'_>; 4] = [
            ("the CPU", false, &|| native("cpu", "fast")),
            ("the CPU in a browser", false, &|| in_browser("cpu")),
            ("the GPU", true, &|| context.needs_gpu().and_then(|()| native("gpu", "fast"))),
            ("the GPU in a browser", true, &|| in_browser("gpu")),
        ];
        for (i, (place, floats, find)) in places.into_iter().enumerate() {
            if i == 3 && !subject.on_webgpu {
                continue;
            }
            let what = format!("{} {encoding} on {place}", subject.name);
            report.lines(&what, |report| {
                let found = find()?;
                let (kl, changed) = if floats { (FLOAT_BOUND, 0.0) } else { (subject.fast_bound, CHANGED_BOUND) };
                report.at_most(&format!("{what}: KL divergence"), number(&found, "kl_divergence")?, kl, Unit::Nats);
                let clear = number(&found, "clear_positions")?;
                let share = 100.0 * number(&found, "clear_positions_changed")? / clear;
                report.at_most(&format!("{what}: changed of {clear} clear positions"), share, changed, Unit::Percent);
                Ok(())
            });
        }
    }
    Ok(())
}

fn quantize(context: &Context, model: &Path, encoding: &str, out: &Path) -> Result<(), Stop> {
    let (model, out) = (model.to_string_lossy(), out.to_string_lossy());
    let mut arguments = vec!["quantize", &*model, "--to", encoding, "-o", &*out, "--quiet"];
    if encoding == "gptq" {
        arguments.extend(["--bits", "4", "--group-size", "128"]);
    }
    context.document(&arguments).map(drop)
}

/// Returns the number of chunks of the shipped held-out text.
fn chunks(context: &Context) -> u32 {
    context.or_quick(20, 2)
}

fn native(context: &Context, model: &Path, device: &str, compute: &str) -> Result<Value, Stop> {
    let (model, chunks) = (model.to_string_lossy(), chunks(context).to_string());
    let against = ["--against", &*model, "--against-compute", "f32", "--quiet"];
    let own = ["eval", &*model, "--chunks", &chunks, "--device", device, "--compute", compute];
    context.document(&[&own[..], &against].concat())
}

fn in_browser(context: &Context, model: &Path, device: &str) -> Result<Value, Stop> {
    let protocol = context.or_quick("llama.cpp-512", "llama.cpp-64");
    let settings = json!({"chunks": chunks(context), "protocol": protocol});
    browser::run(context, "check", &json!({"model": model, "device": device, "settings": settings}))
}
