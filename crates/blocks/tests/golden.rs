//! Blocks made by gguf-py (`scripts/make_golden.py`).
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use honelm_blocks::Encoding;

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn floats(name: &str) -> Vec<f32> {
    data(name).as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn with_golden() -> impl Iterator<Item = Encoding> {
    Encoding::ALL.into_iter().filter(|e| *e != Encoding::F32)
}

#[test]
fn decodes_bit_for_bit_as_gguf_py() {
    for encoding in with_golden() {
        let (blocks, expected) =
            (data(&format!("{}.blocks", encoding.name())), floats(&format!("{}.f32", encoding.name())));
        let mut found = vec![f32::NAN; expected.len()];
        encoding.dequantize_row(&blocks, &mut found);
        for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(f.to_bits(), e.to_bits(), "{encoding} value {i}: found {f}, expected {e}");
        }
    }
}

#[test]
fn rounds_byte_for_byte_as_gguf_py() {
    let input = floats("input.f32");
    for encoding in with_golden().filter(|e| !matches!(e, Encoding::Q4K | Encoding::Q6K)) {
        let expected = data(&format!("{}.blocks", encoding.name()));
        let mut found = vec![0u8; encoding.row_bytes(input.len()).unwrap()];
        encoding.quantize_row(&input, None, &mut found).unwrap();
        let width = encoding.block_bytes();
        for (i, (f, e)) in found.chunks(width).zip(expected.chunks(width)).enumerate() {
            assert_eq!(f, e, "{encoding} block {i}");
        }
    }
}

#[test]
fn facts_agree_with_ggml() {
    // (name, id, values a block, bytes a block) of ggml's type table.
    let facts = [
        ("f32", 0, 1, 4),
        ("f16", 1, 1, 2),
        ("q4_0", 2, 32, 18),
        ("q4_1", 3, 32, 20),
        ("q5_0", 6, 32, 22),
        ("q5_1", 7, 32, 24),
        ("q8_0", 8, 32, 34),
        ("q4_k", 12, 256, 144),
        ("q6_k", 14, 256, 210),
        ("bf16", 30, 1, 2),
    ];
    assert_eq!(facts.len(), Encoding::ALL.len());
    for (name, id, len, bytes) in facts {
        let encoding = Encoding::from_name(name).unwrap();
        assert_eq!(Encoding::from_ggml_id(id), Some(encoding));
        assert_eq!(Encoding::from_name(&encoding.to_string()), Some(encoding));
        assert_eq!((encoding.name(), encoding.ggml_id()), (name, id));
        assert_eq!((encoding.block_len(), encoding.block_bytes()), (len, bytes));
        assert_eq!(encoding.to_string().to_lowercase(), name);
    }
    assert_eq!(Encoding::Q4K.to_string(), "Q4_K");
    assert_eq!(Encoding::from_name("q3_k"), None);
    assert_eq!(Encoding::from_ggml_id(9), None);
    assert!((Encoding::Q6K.bits_per_weight() - 6.5625).abs() < 1e-12);
}
