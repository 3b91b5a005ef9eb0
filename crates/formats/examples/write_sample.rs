//! Writes a small GGUF file for other implementations to read (`scripts/check_written_gguf.py`): `cargo run -p
//! honelm-formats --example write_sample -- FILE`.

use std::process::ExitCode;

use honelm_blocks::{BlockMatrix, Encoding};
use honelm_formats::{FormatError, gguf, write_atomic};
use honelm_tensor::Matrix;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: write_sample FILE");
        return ExitCode::from(2);
    };
    match write(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write(path: &str) -> Result<(), FormatError> {
    let mut writer = gguf::Writer::new();
    writer.metadata("general.architecture", "llama")?;
    writer.metadata("llama.block_count", 2u32)?;
    writer.metadata("llama.rope.freq_base", 10000.0f32)?;
    writer.metadata("tokenizer.ggml.tokens", ["<s>", "grüße", "▁the"].map(String::from).to_vec())?;
    writer.metadata("tokenizer.ggml.scores", vec![0.0f32, -1.5, 2.0])?;
    writer.metadata("tokenizer.ggml.token_type", vec![3i32, 1, 1])?;
    writer.metadata("tokenizer.ggml.add_bos_token", true)?;
    writer.tensor("a", &[3, 5], Encoding::F32)?;
    writer.tensor("b", &[2, 3, 4], Encoding::F16)?;
    writer.tensor("c", &[2, 64], Encoding::Q8_0)?;
    write_atomic(path, |file| {
        writer.write_to(file, path, |tensor, sink| {
            let cols = tensor.shape.last().copied().unwrap_or(1);
            let rows = tensor.shape.iter().product::<usize>() / cols;
            let values = (0..rows * cols).map(|i| (i as f32 - 7.0) / 4.0).collect();
            let honelm_formats::ElementType::Weights(encoding) = tensor.element else { return Ok(()) };
            match BlockMatrix::quantize(&Matrix::new(rows, cols, values), encoding, None) {
                Ok(matrix) => sink.write(&matrix.bytes),
                Err(error) => Err(FormatError::NotRepresentable {
                    tensor: tensor.name.clone(),
                    format: encoding.display_name(),
                    reason: error.to_string(),
                }),
            }
        })
    })
}
