//! Shrinks the shipped model to 8 bits and measures what that costs:
//! `cargo run --release -p honelm --example shrink -- pocket-q8_0.gguf`

use std::path::Path;

use honelm::{
    Encoding, Error, EvaluateOptions, Evaluation, QuantizeOptions, QuantizeTarget, Quantized, RunOptions, TextSource,
};

/// Writes the shipped model to `out` as Q8_0, and compares it with the original on `chunks` chunks of the shipped text.
pub fn shrink(out: &Path, chunks: usize) -> Result<(Quantized, Evaluation), Error> {
    let original = honelm::locate(None, None)?;
    let run = RunOptions::default();

    let written = honelm::quantize(
        &QuantizeOptions {
            model: original.clone(),
            out: out.to_owned(),
            target: QuantizeTarget::Encoding(Encoding::Q8_0),
            max_shard_size: None,
            force: false,
            calibration: None, // plain rounding; a text here brings GPTQ's error feedback
            calibration_samples: 256,
            calibration_length: 512,
            strict: false,
            run: run.clone(),
        },
        &mut |_progress| true,
    )?;

    let found = honelm::evaluate(
        &EvaluateOptions {
            model: out.to_owned(),
            text: TextSource::Shipped,
            protocol: "llama.cpp-512".parse()?,
            chunks: Some(chunks),
            against: Some(original),
            against_compute: None,
            run,
            scratch: None,
        },
        &mut |_progress| true,
    )?;
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
