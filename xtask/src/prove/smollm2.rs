//! A published chat model: it loads, answers, and keeps its perplexity with 8-bit activations.

use std::process::{Command, Stdio};

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "smollm2",
    claim: "SmolLM2-135M-Instruct (Q4_1) answers questions, and 8-bit activations hardly change its perplexity",
    needs: "HONELM_TEST_DATA; the network, or the file in target/prove/models",
    run,
};

/// Questions, each with a word that a sensible answer contains.
const QUESTIONS: [(&str, &str); 5] = [
    ("What is the capital of France?", "Paris"),
    ("What is the capital of Germany?", "Berlin"),
    ("How many legs does a dog have?", "four"),
    ("Who wrote Romeo and Juliet?", "Shakespeare"),
    ("What color is the sky?", "blue"),
];
/// The smallest number of sensible answers. A model of this size may fail one question or another.
const LEAST: usize = 4;
/// The largest change of the perplexity by 8-bit activations, in percent.
const PERPLEXITY_BOUND: f64 = 1.0;
/// The largest mean divergence caused by 8-bit activations. Unlike the shipped models, this model has outliers in
/// its activations.
const DIVERGENCE_BOUND: f64 = 5e-3;

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let script = context.data("tools/get_smollm2.sh")?;
    let text = context.data("data/text/wikitext2-test.raw")?;
    let download = Command::new("bash").arg(&script).arg(context.kept("models")?).stdin(Stdio::null()).output();
    let download = download.map_err(|e| format!("bash: {e}"))?;
    if !download.status.success() {
        let said = String::from_utf8_lossy(&download.stderr);
        return Err(Stop::Needs(format!("the file ({})", said.trim().lines().next_back().unwrap_or_default())));
    }
    let file = String::from_utf8_lossy(&download.stdout).trim().to_owned();

    for compute in ["fast", "f32"] {
        let sensible = sensible(context, &file, compute)?;
        let what = format!("sensible greedy answers of {}, {compute}", QUESTIONS.len());
        report.at_least(&what, sensible as f64, LEAST as f64, Unit::Count);
    }
    let (text, chunks) = (text.to_string_lossy(), context.or_quick("40", "2"));
    let eval = ["eval", &*file, "--text", &*text, "--chunks", chunks, "--quiet"];
    let against = ["--device", "cpu", "--against", &*file, "--against-compute", "f32"];
    let found = context.document(&[&eval[..], &against].concat())?;
    let (fast, exact) = (number(&found, "perplexity")?, number(&found, "base_perplexity")?);
    let what = format!("perplexity {fast:.4}, in f32 {exact:.4}");
    report.at_most(&what, 100.0 * (fast / exact - 1.0).abs(), PERPLEXITY_BOUND, Unit::Percent);
    report.at_most("KL(f32 || fast)", number(&found, "kl_divergence")?, DIVERGENCE_BOUND, Unit::Nats);
    Ok(())
}

/// Returns the number of questions that a model answers with the expected word.
fn sensible(context: &Context, file: &str, compute: &str) -> Result<usize, Stop> {
    let mut count = 0;
    for (question, word) in QUESTIONS {
        let ask = ["run", file, "-p", question, "-n", "48", "--temperature", "0", "--quiet"];
        let answer = context.document(&[&ask[..], &["--device", "cpu", "--compute", compute]].concat())?;
        count += usize::from(answer["text"].as_str().is_some_and(|text| text.contains(word)));
    }
    Ok(count)
}
