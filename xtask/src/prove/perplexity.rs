//! The perplexities of HoneLM's files, compared with those that llama.cpp measured on the same files.

use std::fs;

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "perplexity",
    claim: "files of HoneLM in six encodings have the perplexity that llama.cpp measured on them",
    needs: "HONELM_TEST_DATA",
    run,
};

/// The largest difference between two correct implementations in percent: with float weights and activations, and
/// otherwise.
const BOUNDS: (f64, f64) = (0.05, 0.2);

/// The part of the novel that is evaluated, in characters.
const CHARACTERS: std::ops::Range<usize> = 100_000..500_000;

/// The encodings of each model, with the perplexity that llama-perplexity measured on HoneLM's file: 100 chunks of
/// 512 tokens.
const PERPLEXITIES: [(&str, [(&str, f64); 6]); 2] = [
    (
        "pocket",
        [
            ("f16", 49.2363),
            ("q8_0", 49.2943),
            ("q6_k", 49.5016),
            ("q5_0", 49.9628),
            ("q4_k", 51.4999),
            ("q4_0", 52.6050),
        ],
    ),
    (
        "reference",
        [
            ("f16", 43.3874),
            ("q8_0", 43.4375),
            ("q6_k", 43.6218),
            ("q5_0", 43.5179),
            ("q4_k", 44.4117),
            ("q4_0", 45.4590),
        ],
    ),
];

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let novel = context.data("data/text/heldout-eliot.txt")?;
    let folder = context.scratch("perplexity")?;
    let text = folder.join("text.txt");
    let read = fs::read_to_string(&novel).map_err(|e| format!("{}: {e}", novel.display()))?;
    let part: String = read.chars().skip(CHARACTERS.start).take(CHARACTERS.len()).collect();
    fs::write(&text, part).map_err(|e| format!("{}: {e}", text.display()))?;
    let text = text.to_string_lossy();
    for (name, rows) in &PERPLEXITIES[..context.or_quick(2, 1)] {
        let model = context.data(&format!("models/{name}"))?;
        let model = model.to_string_lossy();
        for (encoding, expected) in &rows[..context.or_quick(6, 1)] {
            let out = folder.join(format!("{name}-{encoding}.gguf"));
            let out = out.to_string_lossy();
            context.document(&["quantize", &*model, "--to", *encoding, "-o", &*out, "--quiet"])?;
            let found = context.document(&["eval", &*out, "--text", &*text, "--chunks", "100", "--quiet"])?;
            let found = number(&found, "perplexity")?;
            let what = format!("{name} {encoding}: {found:.4}, llama.cpp {expected:.4}");
            let bound = if *encoding == "f16" { BOUNDS.0 } else { BOUNDS.1 };
            report.at_most(&what, 100.0 * (found / expected - 1.0).abs(), bound, Unit::Percent);
        }
    }
    Ok(())
}
