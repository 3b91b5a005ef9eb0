//! The choice of an encoding for each tensor, against fixed mixes and an evolutionary search of the same size.

use std::fs;
use std::path::{Path, PathBuf};

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "allocation",
    claim: "a choice of encodings by sensitivities is closer to the original than llama.cpp's mixes of its size and than an evolutionary search",
    needs: "HONELM_TEST_DATA (models/reference, data/text)",
    run,
};

const MIXES: [&str; 3] = ["q4_k_m", "q3_k_m", "q2_k"];

/// The files of a run.
struct Subject {
    model: PathBuf,
    calibration: PathBuf,
    text: PathBuf,
    /// The half of the text that the search does not see.
    gate: PathBuf,
    samples: &'static str,
}

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let folder = context.scratch("allocation")?;
    let text = context.data("data/text/heldout-galsworthy.txt")?;
    let gate = folder.join("gate.txt");
    let failed = |e: std::io::Error| Stop::Failed(e.to_string());
    let whole = fs::read_to_string(&text).map_err(failed)?;
    let half = (whole.len() / 2..).find(|&at| whole.is_char_boundary(at)).unwrap_or(0);
    fs::write(&gate, &whole[half..]).map_err(failed)?;
    let subject = Subject {
        model: context.or_quick(context.data("models/reference")?, context.pocket()),
        calibration: context.data("data/text/calibration.jsonl")?,
        text,
        gate,
        samples: context.or_quick("64", "2"),
    };
    for mix in context.or_quick(&MIXES[..], &MIXES[1..2]) {
        report.lines(mix, |report| against(context, report, &folder, &subject, mix));
    }
    Ok(())
}

fn against(
    context: &Context,
    report: &mut Report<'_>,
    folder: &Path,
    subject: &Subject,
    mix: &str,
) -> Result<(), Stop> {
    let (fixed, chosen) = (folder.join(format!("{mix}.gguf")), folder.join(mix));
    let [model, calibration, text] =
        [&subject.model, &subject.calibration, &subject.text].map(|path| path.to_string_lossy().into_owned());
    let shared = ["--recipe", "gptq", "--calibration", &*calibration, "--samples", subject.samples, "--quiet"];
    let made = fixed.to_string_lossy().into_owned();
    let written = context.document(&[&["quantize", &*model, "--to", mix, "-o", &*made][..], &shared].concat())?;
    let size = number(&written, "size_bytes")?;
    let (target, out) = (format!("{size}"), chosen.to_string_lossy().into_owned());
    let optimize = ["optimize", &*model, "--target-size", &*target, "--text", &*text];
    let published = ["-o", &*out, "--budget", "1000000"];
    let report_of = context.document(&[&optimize[..], &shared, &published].concat())?;
    let row = &report_of["rows"][1];
    report.at_most(&format!("{mix}: size"), number(row, "size_bytes")?, size, Unit::Megabytes);
    let [theirs, ours] = [&fixed, &chosen.join("model.gguf")].map(|path| kl(context, path, subject));
    report.at_most(&format!("{mix}: KL divergence, that of the mix"), ours?, theirs?, Unit::Nats);
    let evolution = ["--dry-run", "--search", "evolution"];
    let evolved = context.document(&[&optimize[..], &shared, &evolution].concat())?;
    let searched = |report: &serde_json::Value| number(&report["allocations"][0], "measured_kl");
    let (ours, theirs) = (searched(&report_of)?, searched(&evolved)?);
    report.at_most(&format!("{mix}: KL divergence in the search, that of evolution"), ours, theirs, Unit::Nats);
    Ok(())
}

fn kl(context: &Context, file: &Path, subject: &Subject) -> Result<f64, Stop> {
    let [file, model, text] = [file, &subject.model, &subject.gate].map(|path| path.to_string_lossy().into_owned());
    let chunks = context.or_quick("60", "2");
    let found =
        context.document(&["eval", &file, "--against", &model, "--text", &text, "--chunks", chunks, "--quiet"])?;
    number(&found, "kl_divergence")
}
