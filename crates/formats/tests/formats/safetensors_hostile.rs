//! safetensors files and folders with one error each.

use std::fs;

use crate::common::{assert_modest_memory, raw_safetensors};
use bytes::Bytes;
use honelm_formats::safetensors::Safetensors;
use honelm_formats::{FormatError, TensorSource};
use proptest::prelude::*;

fn parse(bytes: Vec<u8>) -> Result<Safetensors, FormatError> {
    Safetensors::parse(Bytes::from(bytes), "model.safetensors")
}

fn code(bytes: Vec<u8>) -> &'static str {
    let error = parse(bytes).expect_err("must be refused");
    assert!(error.to_string().contains("model.safetensors"), "does not name the file: {error}");
    error.code()
}

fn with(header: &str, data: usize) -> &'static str {
    code(raw_safetensors(header, &vec![0; data]))
}

const VALID: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"I64","shape":[],"data_offsets":[8,16]}}"#;

#[test]
fn accepts_the_file_that_the_others_break() {
    let file = parse(raw_safetensors(VALID, &[1; 16])).unwrap();
    assert_eq!(file.names(), ["a", "b"]);
    assert_eq!(file.metadata(), [("format".to_owned(), "pt".to_owned())]);
    assert_eq!(file.integers("b").unwrap(), [0x0101_0101_0101_0101]);
}

#[test]
fn rejects_truncation_at_every_byte() {
    let whole = raw_safetensors(VALID, &[0; 16]);
    for length in 0..whole.len() {
        let expected = match length {
            0 => "empty-file",
            n if n < 8 + VALID.len() => "truncated-file",
            _ => "tensor-out-of-bounds",
        };
        assert_eq!(code(whole[..length].to_vec()), expected, "{length} bytes");
    }
}

#[test]
fn rejects_lying_header_lengths() {
    let lying = |length: u64| code([&length.to_le_bytes()[..], VALID.as_bytes()].concat());
    assert_eq!(lying(99_999_999), "truncated-file");
    assert_eq!(lying(100_000_001), "header-too-large");
    assert_eq!(lying(u64::MAX), "header-too-large");
    assert_eq!(lying(0), "invalid-header");
    assert_eq!(lying(10), "invalid-header");
    assert_modest_memory();
}

#[test]
fn rejects_headers_that_are_no_objects_of_tensors() {
    for header in ["", "[]", " {}", "{", "{}x", r#"{"a":1}"#, r#"{"a":{}}"#, r#"{"a":{"dtype":"F32","shape":[1]}}"#] {
        assert_eq!(with(header, 0), "invalid-header", "{header}");
    }
    let negative = r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#;
    assert_eq!(with(negative, 4), "invalid-header");
    assert_eq!(with(r#"{"__metadata__":{"a":1}}"#, 0), "invalid-header");
    assert_eq!(with(&format!(r#"{{"__metadata__":{}}}"#, "[".repeat(100_000)), 0), "invalid-header");
    assert_eq!(code(raw_safetensors(b"{\"\xff\":1}", &[])), "invalid-utf8");
}

#[test]
fn names_the_tensor_of_a_malformed_entry() {
    let error = parse(raw_safetensors(r#"{"bad":{"dtype":"F32","shape":[1]}}"#, &[])).unwrap_err();
    assert!(error.to_string().contains("'bad': missing field `data_offsets`"), "{error}");
}

#[test]
fn rejects_duplicates() {
    let twice =
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    assert_eq!(with(twice, 2), "duplicate-tensor");
    assert_eq!(with(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0), "duplicate-key");
    assert_eq!(with(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), "duplicate-key");
    let field = r#"{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    assert_eq!(with(field, 1), "invalid-header");
}

/// Returns two byte tensors at these offsets.
fn two(a: [u64; 2], b: [u64; 2]) -> String {
    let entry = |name, [begin, end]: [u64; 2]| {
        let shape = end.saturating_sub(begin);
        format!(r#""{name}":{{"dtype":"U8","shape":[{shape}],"data_offsets":[{begin},{end}]}}"#)
    };
    format!("{{{},{}}}", entry("a", a), entry("b", b))
}

#[test]
fn rejects_overlaps_holes_and_extents_outside() {
    assert!(parse(raw_safetensors(two([4, 8], [0, 4]), &[0; 8])).is_ok());
    assert_eq!(with(&two([0, 5], [4, 8]), 8), "overlapping-tensors");
    assert_eq!(with(&two([0, 4], [0, 4]), 4), "overlapping-tensors");
    assert_eq!(with(&two([0, 4], [5, 8]), 8), "uncovered-bytes");
    assert_eq!(with(&two([1, 4], [4, 8]), 8), "uncovered-bytes");
    assert_eq!(with(&two([0, 4], [4, 8]), 9), "uncovered-bytes");
    assert_eq!(with("{}", 1), "uncovered-bytes");
    assert_eq!(with(&two([0, 4], [4, 9]), 8), "tensor-out-of-bounds");
    assert_eq!(with(&two([0, 4], [4, u64::MAX]), 8), "tensor-out-of-bounds");
    assert_eq!(with(&two([4, 0], [4, 8]), 8), "reversed-offsets");
    assert_eq!(with(&two([u64::MAX, 0], [0, 8]), 8), "reversed-offsets");
}

#[test]
fn rejects_sizes_that_do_not_agree_with_shape_and_type() {
    let one = |dtype: &str, shape: &str, end: usize| {
        with(&format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#), end)
    };
    assert_eq!(one("F32", "[2]", 4), "size-mismatch");
    assert_eq!(one("F32", "[]", 8), "size-mismatch");
    assert_eq!(one("F4", "[3]", 2), "size-mismatch");
    assert_eq!(one("F32", "[4611686018427387904]", 0), "size-overflow");
    assert_eq!(one("U8", "[4294967296,4294967296]", 0), "size-overflow");
    assert_eq!(one("Q99", "[1]", 4), "unknown-dtype");
}

#[test]
fn lists_types_that_it_cannot_read() {
    let header = r#"{"a":{"dtype":"F8_E5M2","shape":[4],"data_offsets":[0,4]}}"#;
    let file = parse(raw_safetensors(header, &[0; 4])).unwrap();
    assert_eq!(file.info("a").unwrap().element.to_string(), "F8_E5M2");
    assert_eq!(file.get("a").unwrap_err().code(), "unsupported-encoding");
    assert_eq!(file.get("b").unwrap_err().code(), "missing-tensor");
}

#[test]
fn rejects_other_files_by_content() {
    assert_eq!(code(b"<!DOCTYPE html><html><body>404".to_vec()), "html-page");
    assert_eq!(code(b"version https://git-lfs.github.com/spec/v1\noid".to_vec()), "lfs-pointer");
    assert_eq!(code(b"PK\x03\x04\0\0\x08\x08\0\0\0\0archive/data.pkl".to_vec()), "pickle-file");
    assert_eq!(code(b"\x80\x02}q\0(X\x0c\0\0\0weight".to_vec()), "pickle-file");
}

fn shards(index: &str) -> Result<Safetensors, FormatError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let one = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    fs::write(folder.path().join("1.safetensors"), raw_safetensors(one, &[5])).unwrap();
    let other =
        r#"{"c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    fs::write(folder.path().join("2.safetensors"), raw_safetensors(other, &[6, 7])).unwrap();
    fs::write(folder.path().join("both.safetensors"), raw_safetensors(two([0, 1], [1, 2]), &[8, 9])).unwrap();
    Safetensors::open(folder.path())
}

#[test]
fn reads_shards_as_the_index_says() {
    let model = shards(r#"{"metadata":{"total_size":2},"weight_map":{"b":"2.safetensors","a":"1.safetensors"}}"#);
    let model = model.unwrap();
    // Tensors that the index does not list are found all the same, and come last.
    assert_eq!(model.names(), ["b", "a", "c"]);
    assert_eq!((model.integers("a").unwrap(), model.integers("b").unwrap()), (vec![5], vec![7]));
    assert!(model.file_of("a").ends_with("1.safetensors") && model.file_of("b").ends_with("2.safetensors"));
    assert_eq!(model.files().count(), 2);
}

#[test]
fn the_index_decides_between_shards_that_hold_the_same_tensor() {
    let model = shards(r#"{"weight_map":{"a":"1.safetensors","b":"both.safetensors"}}"#).unwrap();
    assert_eq!((model.integers("a").unwrap(), model.integers("b").unwrap()), (vec![5], vec![9]));
    let passed_over: Vec<(&str, &str)> = model.passed_over().collect();
    assert!(matches!(passed_over[..], [("a", file)] if file.ends_with("both.safetensors")), "{passed_over:?}");
    let model = shards(r#"{"weight_map":{"a":"both.safetensors","b":"2.safetensors"}}"#).unwrap();
    assert_eq!((model.integers("a").unwrap(), model.integers("b").unwrap()), (vec![8], vec![7]));
    assert!(matches!(model.passed_over().collect::<Vec<_>>()[..], [("b", file)] if file.ends_with("both.safetensors")));
}

#[test]
fn rejects_shards_that_hold_the_same_tensor_where_no_index_lists_it() {
    let error = shards(r#"{"weight_map":{"c":"2.safetensors","a":"both.safetensors"}}"#).expect_err("refused");
    assert_eq!(error.code(), "tensor-in-two-shards");
    for name in ["'b'", "2.safetensors", "both.safetensors"] {
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn rejects_indexes_that_lie_or_lead_outside() {
    let code = |index: &str| shards(index).expect_err("must be refused").code();
    let to = |shard: &str| code(&format!(r#"{{"weight_map":{{"a":"{shard}"}}}}"#));
    for shard in ["", ".", "..", "../1.safetensors", "/etc/passwd", "x/1.safetensors", r"..\\1", "C:1", r"\u0000"] {
        assert_eq!(to(shard), "unsafe-shard-name", "{shard:?}");
    }
    assert_eq!(to("3.safetensors"), "missing-shard");
    assert_eq!(code(r#"{"weight_map":{"b":"1.safetensors"}}"#), "tensor-not-in-shard");
    assert_eq!(code(r#"{"weight_map":{"a":"1.safetensors","a":"both.safetensors"}}"#), "duplicate-tensor");
    assert_eq!(code(r#"{"weight_map":{"a":1}}"#), "invalid-json");
    assert_eq!(code(r#"{"weight_map":[]}"#), "invalid-json");
    assert_eq!(code("{}"), "invalid-json");
    assert_eq!(code("not json"), "invalid-json");
}

#[test]
fn says_why_a_folder_has_no_weights() {
    let folder = tempfile::tempdir().unwrap();
    let code = || Safetensors::open(folder.path()).expect_err("must be refused").code();
    assert_eq!(code(), "no-weights");
    fs::write(folder.path().join("pytorch_model.bin"), b"PK\x03\x04\0\0\x08\x08").unwrap();
    assert_eq!(code(), "pickle-file");
    assert_eq!(Safetensors::open(folder.path().join("absent")).expect_err("absent").code(), "file-not-found");
}

/// The name, shape and data of a tensor.
type Content = (String, Vec<usize>, Vec<u8>);

/// Returns the result of the reference implementation.
fn reference(bytes: &[u8]) -> Option<Vec<Content>> {
    let file = honelm_testing::SafeTensors::deserialize(bytes).ok()?;
    let mut tensors: Vec<_> = file.iter().map(|(n, t)| (n.to_owned(), t.shape().to_vec(), t.data().to_vec())).collect();
    tensors.sort();
    Some(tensors)
}

/// The reference accepts every file that we accept, with the same contents. It also accepts repeated keys, of which
/// it takes the last.
fn agrees_with_the_reference(bytes: Vec<u8>) {
    let (ours, theirs) = (parse(bytes.clone()), reference(&bytes));
    match (ours, theirs) {
        (Ok(file), Some(theirs)) => {
            assert_eq!(file.names().len(), theirs.len());
            for (name, shape, data) in theirs {
                assert_eq!(file.info(&name).unwrap().shape, shape);
                if let Ok(tensor) = file.get(&name) {
                    assert_eq!(tensor.bytes, data);
                }
            }
        }
        (Ok(_), None) => panic!("the reference refuses {}", String::from_utf8_lossy(&bytes)),
        (Err(error), Some(_)) => {
            let stricter = ["duplicate-tensor", "duplicate-key"].contains(&error.code())
                || error.to_string().contains("does not begin with");
            assert!(stricter, "the reference accepts {}: {error}", String::from_utf8_lossy(&bytes));
        }
        (Err(_), None) => {}
    }
}

#[test]
fn agrees_with_the_reference_on_the_cases_above() {
    for header in [VALID, "{}", "", "[]", " {}", "{} ", r#"{"__metadata__":null}"#] {
        for data in [0, 16] {
            agrees_with_the_reference(raw_safetensors(header, &vec![0; data]));
        }
    }
    let zero = r#"{"a":{"dtype":"F32","shape":[4611686018427387904,0],"data_offsets":[0,0]}}"#;
    agrees_with_the_reference(raw_safetensors(zero, &[]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        agrees_with_the_reference(tail.clone());
        agrees_with_the_reference(raw_safetensors(&tail[..tail.len() / 2], &tail[tail.len() / 2..]));
        assert_modest_memory();
    }

    #[test]
    fn mutated_files_agree_with_the_reference(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), b'0'..=b'9']), 1..4),
    ) {
        let mut bytes = raw_safetensors(VALID, &[0; 16]);
        for (index, value) in edits {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        agrees_with_the_reference(bytes);
        assert_modest_memory();
    }

    #[test]
    fn arbitrary_indexes_never_panic(text in "[{}\\[\\]\",:a.weight_map/0-9]{0,80}") {
        let _ = Safetensors::from_shards("index.json", text.as_bytes(), |shard| {
            Err(FormatError::MissingShard { file: "index.json".into(), shard: shard.into() })
        });
    }
}
