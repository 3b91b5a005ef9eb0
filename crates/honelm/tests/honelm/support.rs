//! Compares `docs/support.md` with the code. `cargo xtask generate` writes the file.

use std::fmt::Write as _;
use std::path::Path;

use honelm_blocks::{BlockMatrix, Encoding};
use honelm_cpu::{Isa, int8::Int8Weight};
use honelm_model::export::Container;
use honelm_tensor::Matrix;

fn tables() -> String {
    let mut out = "# What is supported\n\nWritten by `cargo xtask generate`; do not edit.\n".to_owned();
    out.push_str("\nEvery architecture runs with every encoding, from every container, on every instruction set.\n");

    out.push_str("\n## Architectures\n\n| `model_type` | GGUF's `general.architecture` |\n|---|---|\n");
    for (model_type, gguf) in honelm_model::architectures() {
        let _ = writeln!(out, "| {model_type} | {gguf} |");
    }
    out.push_str("\nAll architectures are read from both containers and written to both. If several have the same name in GGUF, the first one reads it.\n");

    out.push_str("\n## Encodings\n\n");
    out.push_str(
        "| encoding | bits per weight | safetensors | GGUF | error feedback | fast kernel |\n|---|---|---|---|---|---|\n",
    );
    for encoding in Encoding::ALL {
        let matrix = Matrix::zeros(1, encoding.block_len().max(32));
        let packed = BlockMatrix::quantize(&matrix, encoding, None).expect("zeros can be encoded");
        let kernel = match Int8Weight::pack(&packed.into(), Isa::Generic) {
            Some(_) => "8-bit activations",
            None => "float, tile by tile",
        };
        let feedback = if encoding.grid().is_some() { "yes" } else { "" };
        let safetensors = match encoding {
            _ if encoding.is_float() => "read, written",
            Encoding::FP8 => "read",
            _ => "",
        };
        let gguf = if encoding.ggml_id().is_some() { "read, written" } else { "" };
        let bits = encoding.bits_per_weight();
        let _ = writeln!(out, "| {encoding} | {bits:.4} | {safetensors} | {gguf} | {feedback} | {kernel} |");
    }
    out.push_str("| integer groups | by group size | see below | | yes | 2, 3, 4, 8 bit: 8-bit activations |\n");

    out.push_str("\n## Quantised modules in safetensors\n\n| quantised format | read | written |\n|---|---|---|\n");
    for (layout, reads) in honelm_formats::quantized::known() {
        let written = Container::from_name(layout).and_then(|container| container.groups.as_ref());
        let written = written.map_or_else(String::new, |groups| {
            let bits: Vec<_> = groups.bits.iter().map(u8::to_string).collect();
            format!("{} bits; group sizes: {}", bits.join(", "), groups.group_sizes)
        });
        let _ = writeln!(out, "| {layout} | {reads} | {written} |");
    }
    out.push_str("\nBoth containers can be split into several files (`model.safetensors.index.json`, `-00001-of-0000N.gguf`); `quantize --max-shard-size` writes such files.\n");
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
