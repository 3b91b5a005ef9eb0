//! The divergence that each recipe leaves at 4 bits, and that of the best files of the sizes of llama.cpp's.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "compression",
    claim: "each recipe is as close to the original as its published code, and a file of the size of llama.cpp's is closer",
    needs: "HONELM_TEST_DATA (models/reference, data/text)",
    run,
};

/// Container, group size, recipe, and the largest divergence. Those of the published methods are 5% above what their own code
/// gives on the same texts.
const GROUPS: [(&str, &str, &str, f64); 6] = [
    ("gptq", "128", "rtn", 1.05 * 0.0483),
    ("gptq", "128", "gptq", 1.05 * 0.0244),
    ("awq", "128", "awq", 1.05 * 0.0351),
    ("gptq", "128", "best", 0.0187),
    ("awq", "128", "best", 0.0187),
    ("gptq", "32", "best", 0.0119),
];

/// The file that llama.cpp (2026-10) makes with an importance matrix: its bytes, its divergence, and the largest share of that.
const SIZES: [(&str, &str, f64, f64); 5] = [
    ("Q4_K_M", "20254880", 0.01910, 0.75),
    ("Q4_K_S", "19388576", 0.02094, 0.75),
    ("IQ4_XS", "18381184", 0.02713, 0.75),
    ("Q3_K_M", "17010848", 0.05241, 0.75),
    ("Q2_K", "13854880", 0.21639, 0.6),
];

/// The part of the text that is judged on, in characters.
const JUDGED: std::ops::Range<usize> = 100_000..500_000;

/// The model, the texts and the amounts of the figures.
pub(super) struct Subject {
    pub(super) folder: PathBuf,
    model: PathBuf,
    calibration: PathBuf,
    /// The text that choices are made on.
    search: PathBuf,
    judged: PathBuf,
    samples: &'static str,
    chunks: &'static str,
}

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let subject = Subject::new(context, "compression")?;
    for (container, group, recipe, limit) in context.or_quick(&GROUPS[..], &GROUPS[3..4]) {
        let name = format!("{recipe}, 4 bits, groups of {group}, {container}");
        report.lines(&name.clone(), |report| {
            let out = subject.folder.join("groups");
            let groups = ["--to", container, "--group-size", group];
            quantise(context, &subject, &out, &[&groups[..], &["--recipe", recipe]].concat())?;
            let found = kl(context, &subject, &out, "f32")?;
            report.at_most(&format!("{name}: KL divergence"), found, *limit, Unit::Nats);
            Ok(())
        });
    }
    for (name, bytes, theirs, share) in context.or_quick(&SIZES[..], &SIZES[4..4]) {
        report.lines(name, |report| {
            let out = subject.folder.join("size");
            let [model, calibration, text, place] =
                [&subject.model, &subject.calibration, &subject.search, &out].map(|path| path.to_string_lossy());
            let what = ["optimize", &*model, "--target-size", bytes, "--text", &*text, "--calibration", &*calibration];
            let how = ["--recipe", "best", "--samples", subject.samples, "--force", "--quiet", "-o", &*place];
            let made = context.document(&[&what[..], &how].concat())?;
            let (found, limit) = (number(&made["rows"][1], "size_bytes")?, bytes.parse().unwrap_or(0.0));
            report.at_most(&format!("{name}: size"), found, limit, Unit::Megabytes);
            let found = kl(context, &subject, &out.join("model.gguf"), "fast")?;
            report.at_most(
                &format!("{name}: KL divergence, {share} of llama.cpp's"),
                found,
                share * theirs,
                Unit::Nats,
            );
            Ok(())
        });
    }
    Ok(())
}

impl Subject {
    /// Prepares the texts in the scratch folder of a part.
    pub(super) fn new(context: &Context, part: &str) -> Result<Self, Stop> {
        let folder = context.scratch(part)?;
        let failed = |e: std::io::Error| Stop::Failed(e.to_string());
        let whole = fs::read_to_string(context.data("data/text/heldout-eliot.txt")?).map_err(failed)?;
        let judged = folder.join("judged.txt");
        let text: String = whole.chars().skip(JUDGED.start).take(JUDGED.len()).collect();
        fs::write(&judged, text).map_err(failed)?;
        Ok(Self {
            folder,
            model: context.or_quick(context.data("models/reference")?, context.pocket()),
            calibration: context.data("data/text/calibration.jsonl")?,
            search: context.data("data/text/heldout-galsworthy.txt")?,
            judged,
            samples: context.or_quick("256", "2"),
            chunks: context.or_quick("1000", "2"),
        })
    }
}

/// Quantises the subject to `out`.
pub(super) fn quantise(context: &Context, subject: &Subject, out: &Path, how: &[&str]) -> Result<Value, Stop> {
    let [model, calibration, out] = [&*subject.model, &*subject.calibration, out].map(Path::to_string_lossy);
    let texts = ["--calibration", &*calibration, "--samples", subject.samples];
    let written = ["--force", "--quiet", "-o", &*out];
    context.document(&[&["quantize", &*model][..], how, &texts, &written].concat())
}

/// Returns the divergence on the judged text. llama.cpp's figures include the rounding of activations, those of the published
/// methods do not.
pub(super) fn kl(context: &Context, subject: &Subject, file: &Path, compute: &str) -> Result<f64, Stop> {
    let [file, model, text] = [file, &*subject.model, &*subject.judged].map(Path::to_string_lossy);
    let texts = ["--text", &*text, "--chunks", subject.chunks, "--compute", compute];
    let found = context.document(&[&["eval", &*file, "--against", &*model, "--quiet"][..], &texts].concat())?;
    number(&found, "kl_divergence")
}
