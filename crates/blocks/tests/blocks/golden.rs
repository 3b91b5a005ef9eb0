//! Known-answer tests: blocks decoded by gguf-py, ggml and PyTorch (`scripts/make_golden.py`).

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
fn decodes_bit_for_bit_as_the_references() {
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
    let plain = [Encoding::Q4_0, Encoding::Q4_1, Encoding::Q5_0, Encoding::Q5_1, Encoding::Q8_0];
    for encoding in [Encoding::F16, Encoding::BF16].into_iter().chain(plain) {
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
fn every_point_of_a_lattice_decodes_bit_for_bit() {
    let text = String::from_utf8(data("points.txt")).unwrap();
    let lines: Vec<_> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(lines.len(), 7);
    for (name, expected) in lines {
        let encoding = Encoding::from_name(name).unwrap();
        let blocks = data(&format!("{name}.points"));
        let mut found = vec![f32::NAN; blocks.len() / encoding.block_bytes() * encoding.block_len()];
        encoding.dequantize_row(&blocks, &mut found);
        let fnv = found
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
        assert_eq!(format!("{fnv:016x}"), expected, "{encoding}");
    }
}

#[test]
fn facts_agree_with_ggml() {
    // (name, id, file type, values per block, bytes per block) from ggml's type table and llama.cpp's file types.
    let facts = [
        ("f32", 0, 0, 1, 4),
        ("f16", 1, 1, 1, 2),
        ("q4_0", 2, 2, 32, 18),
        ("q4_1", 3, 3, 32, 20),
        ("q5_0", 6, 8, 32, 22),
        ("q5_1", 7, 9, 32, 24),
        ("q8_0", 8, 7, 32, 34),
        ("q2_k", 10, 10, 256, 84),
        ("q3_k", 11, 11, 256, 110),
        ("q4_k", 12, 14, 256, 144),
        ("q5_k", 13, 16, 256, 176),
        ("q6_k", 14, 18, 256, 210),
        ("iq2_xxs", 16, 19, 256, 66),
        ("iq2_xs", 17, 20, 256, 74),
        ("iq3_xxs", 18, 23, 256, 98),
        ("iq1_s", 19, 24, 256, 50),
        ("iq4_nl", 20, 25, 32, 18),
        ("iq3_s", 21, 26, 256, 110),
        ("iq2_s", 22, 28, 256, 82),
        ("iq4_xs", 23, 30, 256, 136),
        ("iq1_m", 29, 31, 256, 56),
        ("bf16", 30, 32, 1, 2),
        ("tq1_0", 34, 36, 256, 54),
        ("tq2_0", 35, 37, 256, 66),
        ("mxfp4", 39, 38, 32, 17),
        ("nvfp4", 40, 39, 64, 36),
        ("q1_0", 41, 40, 128, 18),
        ("q2_0", 42, 41, 64, 18),
    ];
    assert_eq!(facts.len(), Encoding::ALL.len() - 1);
    for (name, id, file_type, len, bytes) in facts {
        let encoding = Encoding::from_name(name).unwrap();
        assert_eq!(Encoding::from_ggml_id(id), Some(encoding));
        assert_eq!(Encoding::from_name(&encoding.to_string()), Some(encoding));
        assert_eq!((encoding.name(), encoding.ggml_id(), encoding.file_type()), (name, Some(id), Some(file_type)));
        assert_eq!((encoding.block_len(), encoding.block_bytes()), (len, bytes));
        assert_eq!(encoding.to_string().to_lowercase(), name);
    }
    assert_eq!(Encoding::Q4K.to_string(), "Q4_K");
    assert_eq!((Encoding::FP8.ggml_id(), Encoding::FP8.file_type()), (None, None));
    assert_eq!(Encoding::from_name("q9_k"), None);
    assert_eq!(Encoding::from_ggml_id(9), None);
    assert!((Encoding::Q6K.bits_per_weight() - 6.5625).abs() < 1e-12);
}

#[test]
fn rows_that_blocks_do_not_fill_take_what_llama_cpp_takes() {
    for (encoding, at_32, at_40) in [
        (Encoding::Q2K, Encoding::Q4_0, Encoding::F16),
        (Encoding::Q3K, Encoding::Q4_0, Encoding::F16),
        (Encoding::Q4K, Encoding::Q5_0, Encoding::F16),
        (Encoding::Q5K, Encoding::Q5_1, Encoding::F16),
        (Encoding::Q6K, Encoding::Q8_0, Encoding::F16),
        (Encoding::IQ4XS, Encoding::IQ4NL, Encoding::F16),
        (Encoding::IQ1S, Encoding::IQ4NL, Encoding::F16),
        (Encoding::TQ1_0, Encoding::Q4_0, Encoding::F16),
        (Encoding::Q8_0, Encoding::Q8_0, Encoding::F16),
        (Encoding::BF16, Encoding::BF16, Encoding::BF16),
    ] {
        assert_eq!([256, 32, 40].map(|cols| encoding.for_columns(cols)), [encoding, at_32, at_40], "{encoding}");
    }
}
