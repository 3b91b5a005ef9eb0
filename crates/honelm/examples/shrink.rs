//! Quantises the shipped model to 8 bits and measures the loss of quality:
//! `cargo run --release -p honelm --example shrink -- pocket-q8_0.gguf`

use std::path::Path;

use honelm::{Encoding, Error, EvaluateOptions, Evaluation, QuantizeOptions, QuantizeTarget, Quantized};

/// Writes the shipped model to `out` as Q8_0, and compares it with the original on `chunks` chunks of the shipped text.
pub fn shrink(out: &Path, chunks: usize) -> Result<(Quantized, Evaluation), Error> {
    let original = honelm::locate(None, None)?;
    // Rounds every value to the nearest; a calibration text would add GPTQ's error feedback.
    let options = QuantizeOptions::new(&original, out, QuantizeTarget::Encoding(Encoding::Q8_0));
    let written = honelm::quantize(&options, &mut |_event| true)?;

    let options = EvaluateOptions { chunks: Some(chunks), against: Some(original), ..EvaluateOptions::new(out) };
    let found = honelm::evaluate(&options, &mut |_event| true)?;
    Ok((written, found))
}

#[allow(dead_code, reason = "the tests include this file for `shrink`")]
fn main() -> Result<(), Error> {
    let out = std::env::args().nth(1).unwrap_or_else(|| "pocket-q8_0.gguf".to_owned());
    let (written, found) = shrink(Path::new(&out), 30)?;
    println!("{out}: {} instead of {} bytes", written.size_bytes, written.original_bytes);
    println!("perplexity {:.3} ± {:.3}", found.perplexity, found.perplexity_stderr);
    if let Some(against) = found.comparison {
        println!("{:+.4} against the original, KL {:.5}", against.perplexity_difference, against.kl_divergence);
    }
    Ok(())
}
