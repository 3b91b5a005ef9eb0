//! `docs/support.md` is what the code reads, writes and runs. `cargo xtask generate` writes it.

use std::fmt::Write as _;
use std::path::Path;

use honelm_blocks::{BlockMatrix, Encoding};
use honelm_cpu::{Isa, int8::Int8Weight};
use honelm_tensor::Matrix;

fn tables() -> String {
    let mut out = "# What is supported\n\nWritten by `cargo xtask generate`; do not edit.\n".to_owned();
    let _ = write!(out, "\nArchitectures: {}.\n", honelm_model::architectures().join(", "));
    out.push_str("\n| encoding | bits a weight | GPTQ's error feedback | fast kernel |\n|---|---|---|---|\n");
    for encoding in Encoding::ALL {
        let matrix = Matrix::zeros(1, encoding.block_len().max(32));
        let packed = BlockMatrix::quantize(&matrix, encoding, None).expect("zeros can be encoded");
        let kernel = match Int8Weight::pack(&packed.into(), Isa::Generic) {
            Some(_) => "8-bit activations",
            None => "float",
        };
        let feedback = if encoding.grid().is_some() { "yes" } else { "no" };
        let _ = writeln!(out, "| {encoding} | {:.4} | {feedback} | {kernel} |", encoding.bits_per_weight());
    }
    out.push_str("| integer groups, 2, 3, 4 and 8 bit | by group size | yes | 8-bit activations |\n");
    out.push_str("\nEvery encoding in the table is read, written and run, on every instruction set; FP8 is read from safetensors alone.\n");
    out
}

#[test]
fn the_tables_are_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/support.md");
    if std::env::var_os("HONELM_UPDATE_DOCS").is_some() {
        std::fs::write(&path, tables()).expect("written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/support.md");
    assert!(written == tables(), "docs/support.md is out of date: run `cargo xtask generate`");
}
