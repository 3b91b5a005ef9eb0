//! GGUF files with one error each.

use crate::common::{RawGguf, assert_modest_memory, pair, string, tensor};
use bytes::Bytes;
use honelm_formats::gguf::Gguf;
use honelm_formats::{FormatError, TensorSource};
use proptest::prelude::*;

fn parse(bytes: Vec<u8>) -> Result<Gguf, FormatError> {
    Gguf::parse(Bytes::from(bytes), "model.gguf")
}

fn refusal(bytes: Vec<u8>) -> FormatError {
    let error = parse(bytes).expect_err("must be refused");
    assert!(error.to_string().contains("model.gguf"), "does not name the file: {error}");
    error
}

fn code(bytes: Vec<u8>) -> &'static str {
    refusal(bytes).code()
}

#[test]
fn accepts_the_file_that_the_others_break() {
    let gguf = parse(RawGguf::valid().bytes()).unwrap();
    assert_eq!(gguf.names(), ["a", "b"]);
    assert_eq!(gguf.get("a").unwrap().shape, [2, 4]);
    assert_eq!(&gguf.get("b").unwrap().bytes[..2], &[32, 33]);
    assert_eq!(gguf.get_u32("n").unwrap(), Some(7));
}

#[test]
fn reads_version_2_as_version_3() {
    let gguf = parse(RawGguf { version: 2, ..RawGguf::valid() }.bytes()).unwrap();
    assert_eq!((gguf.version(), gguf.names().len()), (2, 2));
}

#[test]
fn rejects_truncation_at_every_byte() {
    let whole = RawGguf::valid().with_pair(pair("list", 9, &[&8u32.to_le_bytes()[..], &[0; 8]].concat())).bytes();
    for length in 0..whole.len() {
        let expected: &[&str] = match length {
            0 => &["empty-file"],
            _ => &["truncated-file", "implausible-count", "tensor-out-of-bounds"],
        };
        let found = code(whole[..length].to_vec());
        assert!(expected.contains(&found), "{length} bytes: {found}");
    }
}

#[test]
fn names_the_truncated_field_with_its_offset() {
    let whole = RawGguf::valid().bytes();
    assert_eq!(
        refusal(whole[..6].to_vec()).to_string(),
        "model.gguf is truncated: the version at byte 4 needs 4 bytes, found 2"
    );
}

#[test]
fn rejects_wrong_magics_and_versions_by_name() {
    let version = |version| RawGguf { version, ..RawGguf::valid() }.bytes();
    assert_eq!(code(RawGguf { magic: *b"FUGG", ..RawGguf::valid() }.bytes()), "unknown-format");
    assert_eq!(code(RawGguf { magic: *b"lmgg", ..RawGguf::valid() }.bytes()), "legacy-ggml");
    for unsupported in [0, 1, 4, u32::MAX] {
        assert_eq!(code(version(unsupported)), "unsupported-gguf-version");
    }
    assert_eq!(code(version(3u32.swap_bytes())), "big-endian-gguf");
    assert_eq!(code(b"<!DOCTYPE html><html></html>".to_vec()), "html-page");
    assert_eq!(code(b"version https://git-lfs.github.com/spec/v1\n".to_vec()), "lfs-pointer");
}

#[test]
fn rejects_lying_counts_before_allocating() {
    for count in [3, 100, 1 << 32, 1 << 60, u64::MAX / 24, u64::MAX] {
        let tensors = code(RawGguf { tensor_count: Some(count), ..RawGguf::valid() }.bytes());
        assert!(["implausible-count", "truncated-file"].contains(&tensors), "{count} tensors: {tensors}");
        let pairs = refusal(RawGguf { pair_count: Some(count), ..RawGguf::valid() }.bytes());
        let known = ["implausible-count", "truncated-file", "unknown-value-type"];
        assert!(known.contains(&pairs.code()), "{count} pairs: {pairs}");
        if count > 100 {
            assert_eq!((tensors, pairs.code()), ("implausible-count", "implausible-count"));
        }
    }
    assert_modest_memory();
}

#[test]
fn rejects_lying_lengths_of_strings_and_arrays() {
    for length in [100_000u64, 1 << 40, u64::MAX - 7, u64::MAX] {
        let length = length.to_le_bytes();
        let key = [&length[..], b"key"].concat();
        assert_eq!(code(RawGguf::valid().with_pair(key).bytes()), "implausible-count");
        let value = pair("s", 8, &[&length[..], b"text"].concat());
        assert_eq!(code(RawGguf::valid().with_pair(value).bytes()), "implausible-count");
        for element in [0u32, 3, 4, 7, 8, 10, 12] {
            let array = pair("s", 9, &[&element.to_le_bytes()[..], &length].concat());
            assert_eq!(code(RawGguf::valid().with_pair(array).bytes()), "implausible-count", "type {element}");
        }
    }
    assert_modest_memory();
}

#[test]
fn rejects_unknown_and_malformed_values() {
    let with = |kind, value: &[u8]| code(RawGguf::valid().with_pair(pair("key", kind, value)).bytes());
    assert_eq!(with(13, &[0; 8]), "unknown-value-type");
    assert_eq!(with(u32::MAX, &[0; 8]), "unknown-value-type");
    assert_eq!(with(7, &[2]), "invalid-bool");
    assert_eq!(with(8, &string(b"\xff\xfe")), "invalid-utf8");
    let array = |element: u32, rest: &[u8]| [&element.to_le_bytes()[..], &1u64.to_le_bytes(), rest].concat();
    assert_eq!(with(9, &array(13, &[0])), "unknown-value-type");
    assert_eq!(with(9, &array(7, &[9])), "invalid-bool");
    assert_eq!(with(9, &array(8, &string(b"\xc0"))), "invalid-utf8");
    assert_eq!(with(9, &array(9, &array(9, &array(4, &[0; 4])))), "nested-array");
    let mut key = pair("keys", 4, &[0; 4]);
    key[8] = 0xff;
    assert_eq!(code(RawGguf::valid().with_pair(key).bytes()), "invalid-utf8");
}

#[test]
fn rejects_duplicates() {
    assert_eq!(code(RawGguf::valid().with_pair(pair("n", 0, &[1])).bytes()), "duplicate-key");
    let twice = [tensor("a", &[8], 0, 0), tensor("a", &[8], 0, 32)];
    assert_eq!(code(RawGguf::valid().with_tensors(&twice).bytes()), "duplicate-tensor");
}

#[test]
fn rejects_shapes_that_cannot_be() {
    let with =
        |dimensions: &[u64], kind| code(RawGguf::valid().with_tensors(&[tensor("a", dimensions, kind, 0)]).bytes());
    assert_eq!(with(&[1, 1, 1, 1, 1], 0), "too-many-dimensions");
    assert_eq!(with(&[u64::MAX, 2], 0), "size-overflow");
    assert_eq!(with(&[1 << 33, 1 << 33], 0), "size-overflow");
    assert_eq!(with(&[1 << 63, 1, 1, 2], 24), "size-overflow");
    assert_eq!(with(&[u64::MAX - 255, 2], 2), "size-overflow");
    assert_eq!(with(&[1 << 40], 0), "tensor-out-of-bounds");
    assert_eq!(with(&[31, 2], 2), "partial-block");
    assert_eq!(with(&[128], 14), "partial-block");
    let mut rank = RawGguf::valid();
    rank.tensors[1].dimensions = vec![1; 1000];
    assert_eq!(code(rank.bytes()), "too-many-dimensions");
}

#[test]
fn rejects_extents_outside_the_file() {
    let with = |offset| code(RawGguf::valid().with_tensors(&[tensor("a", &[8], 0, offset)]).bytes());
    assert_eq!(with(64), "tensor-out-of-bounds");
    assert_eq!(with(1 << 40), "tensor-out-of-bounds");
    assert_eq!(with(u64::MAX - 31), "tensor-out-of-bounds");
    assert_eq!(with(4), "misaligned-tensor");
    assert_eq!(with(u64::MAX), "misaligned-tensor");
}

#[test]
fn rejects_overlapping_tensors() {
    let same = [tensor("a", &[8], 0, 0), tensor("b", &[8], 0, 0)];
    assert_eq!(code(RawGguf::valid().with_tensors(&same).bytes()), "overlapping-tensors");
    let inside = [tensor("b", &[8], 0, 32), tensor("a", &[16], 0, 0)];
    assert_eq!(code(RawGguf::valid().with_tensors(&inside).bytes()), "overlapping-tensors");
    let unknown = [tensor("a", &[8], 77, 0), tensor("b", &[8], 0, 0)];
    assert_eq!(code(RawGguf::valid().with_tensors(&unknown).bytes()), "overlapping-tensors");
}

#[test]
fn rejects_alignments_that_are_no_powers_of_two() {
    let with = |alignment: u32| {
        code(RawGguf::valid().with_pair(pair("general.alignment", 4, &alignment.to_le_bytes())).bytes())
    };
    for alignment in [0, 3, 48, u32::MAX] {
        assert_eq!(with(alignment), "invalid-alignment");
    }
    // The data would begin far beyond the end.
    assert_eq!(with(1 << 31), "tensor-out-of-bounds");
    let text = RawGguf::valid().with_pair(pair("general.alignment", 8, &string(b"32")));
    assert_eq!(code(text.bytes()), "wrong-value-type");
}

#[test]
fn reads_other_alignments() {
    let mut file = RawGguf::valid().with_pair(pair("general.alignment", 4, &8u32.to_le_bytes()));
    file.alignment = 8;
    file.tensors = vec![tensor("a", &[2], 0, 8)];
    assert_eq!(parse(file.bytes()).unwrap().get("a").unwrap().bytes, [8, 9, 10, 11, 12, 13, 14, 15][..]);
}

#[test]
fn rejects_parts_of_split_models_by_name() {
    let with = |count: u16| RawGguf::valid().with_pair(pair("split.count", 2, &count.to_le_bytes())).bytes();
    assert_eq!(code(with(3)), "split-gguf");
    assert!(parse(with(1)).is_ok());
}

#[test]
fn lists_tensors_of_unsupported_types_and_refuses_their_data() {
    let tensors = [tensor("q", &[256], 10, 0), tensor("x", &[5], 77, 96), tensor("d", &[1], 28, 128)];
    let file = RawGguf { data: vec![0; 160], ..RawGguf::valid() }.with_tensors(&tensors);
    let gguf = parse(file.bytes()).unwrap();
    let listed: Vec<_> = gguf.tensors().map(|t| (t.element.to_string(), t.size)).collect();
    assert_eq!(listed, [("Q2_K".into(), 84), ("type 77".into(), 32), ("F64".into(), 8)]);
    let error = gguf.get("x").unwrap_err();
    assert_eq!(error.code(), "unsupported-encoding");
    assert_eq!(error.to_string(), "model.gguf: tensor 'x': encoding type 77 is not supported");
    assert_eq!(gguf.get("d").unwrap_err().code(), "unsupported-encoding");
    assert!(gguf.get("q").is_ok());
}

#[test]
fn empty_tensors_are_nowhere_and_harmless() {
    let tensors = [tensor("none", &[0, 1 << 40], 0, 0), tensor("a", &[16], 0, 0)];
    let gguf = parse(RawGguf::valid().with_tensors(&tensors).bytes()).unwrap();
    assert!(gguf.get("none").unwrap().bytes.is_empty());
    assert_eq!(gguf.matrix("none").unwrap().cols, 0);
    let many = [tensor("none", &[0, u64::MAX, u64::MAX], 0, 0)];
    let gguf = parse(RawGguf::valid().with_tensors(&many).bytes()).unwrap();
    assert_eq!(gguf.matrix("none").unwrap_err().code(), "size-overflow");
}

#[test]
fn metadata_errors_name_key_found_and_expected() {
    let gguf = parse(RawGguf::valid().with_pair(pair("minus", 5, &(-1i32).to_le_bytes())).bytes()).unwrap();
    assert_eq!(gguf.get_u32("absent").unwrap(), None);
    let message = |error: FormatError| error.to_string();
    assert_eq!(
        message(gguf.get_u32("general.architecture").unwrap_err()),
        "model.gguf: metadata key 'general.architecture': found the string 'llama', expected u32"
    );
    let error = gguf.get_u32("minus").unwrap_err();
    assert_eq!(error.code(), "value-out-of-range");
    assert_eq!(message(error), "model.gguf: metadata key 'minus': found the i32 -1, expected a value that fits u32");
    assert_eq!(gguf.get_str("n").unwrap_err().code(), "wrong-value-type");
    let error = gguf.require::<&[String]>("tokens").unwrap_err();
    assert_eq!(error.code(), "missing-key");
    assert_eq!(message(error), "model.gguf: metadata key 'tokens' is missing, expected an array of strings");
}

/// Reads everything that a parsed file offers.
fn use_all(gguf: &Gguf) {
    for name in gguf.names() {
        if let Ok(tensor) = gguf.get(name) {
            assert_eq!(tensor.bytes.len() as u64, gguf.info(name).unwrap().size);
            let _ = tensor.integers();
            let _ = gguf.matrix(name);
        }
    }
    for (_, value) in gguf.metadata.iter() {
        let _ = value.describe();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(tail.clone());
        // Small counts and lengths get further than random bytes.
        let bytes: Vec<u8> = [b"GGUF\x03\0\0\0".to_vec(), tail.iter().map(|b| b & 3).collect()].concat();
        let _ = parse(bytes).map(|gguf| use_all(&gguf));
        assert_modest_memory();
    }

    #[test]
    fn mutated_files_never_panic(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let strings = [&8u32.to_le_bytes()[..], &2u64.to_le_bytes(), &string(b"x"), &string(b"yz")].concat();
        let tensors = [tensor("a", &[32, 1], 2, 0), tensor("b", &[2, 2], 26, 32)];
        let mut bytes = RawGguf::valid().with_tensors(&tensors).with_pair(pair("list", 9, &strings)).bytes();
        for (index, value) in edits {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let _ = parse(bytes).map(|gguf| use_all(&gguf));
        assert_modest_memory();
    }
}
