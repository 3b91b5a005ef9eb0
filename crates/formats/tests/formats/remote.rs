//! Files of which only parts have been fetched.

use std::ops::Range;

use bytes::Bytes;
use honelm_blocks::Encoding;
use honelm_formats::gguf::{self, Gguf};
use honelm_formats::safetensors::{self, Safetensors};
use honelm_formats::{ElementType, FileData, FormatError, TensorSource};

const ROWS: usize = 1000;

fn values() -> Vec<u8> {
    (0..ROWS * 64).flat_map(|i| (i as f32).to_le_bytes()).collect()
}

/// Returns a file with a header of several megabytes.
fn gguf_file() -> Vec<u8> {
    let mut writer = gguf::Writer::new();
    let words: Vec<String> = (0..100_000).map(|i| format!("a token of some length, number {i}")).collect();
    writer.metadata("general.architecture", "llama").unwrap();
    writer.metadata("tokenizer.ggml.tokens", words).unwrap();
    writer.tensor("a", &[ROWS, 64], Encoding::F32).unwrap();
    writer.tensor("b", &[64], Encoding::F32).unwrap();
    let mut file = Vec::new();
    writer.write_to(&mut file, "model.gguf", |tensor, sink| sink.write(&values()[..tensor.size as usize])).unwrap();
    file
}

fn safetensors_file() -> Vec<u8> {
    let mut writer = safetensors::Writer::new();
    let long = "x".repeat(3 << 20);
    writer.metadata("note", &long);
    writer.tensor("a", &[ROWS, 64], ElementType::Weights(Encoding::F32)).unwrap();
    let mut file = Vec::new();
    writer.write_to(&mut file, "model.safetensors", |_, sink| sink.write(&values())).unwrap();
    file
}

/// Calls `read` until it has everything it needs, and returns the ranges that it asked for.
fn fetched<T>(
    file: &[u8],
    data: &FileData,
    mut read: impl FnMut() -> Result<T, FormatError>,
) -> (Result<T, FormatError>, Vec<Range<u64>>) {
    let mut asked = Vec::new();
    loop {
        match read() {
            Err(FormatError::NotFetched { range, .. }) => {
                assert!(range.start < range.end && range.end <= data.len(), "{range:?}");
                assert!(!asked.contains(&range), "{range:?} is asked for twice");
                data.insert(range.start, Bytes::copy_from_slice(&file[range.start as usize..range.end as usize]));
                asked.push(range);
            }
            other => return (other, asked),
        }
    }
}

fn bytes_of(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

fn reads_rows_alone(file: &[u8], source: &dyn TensorSource, data: &FileData, header: u64) {
    assert!(header < data.len(), "the whole file was fetched");
    data.forget();
    let (rows, asked) = fetched(file, data, || source.matrix_rows("a", 10..12));
    assert_eq!((rows.unwrap().bytes, bytes_of(&asked)), (values()[10 * 256..12 * 256].to_vec().into(), 512));
    let (matrix, asked) = fetched(file, data, || source.matrix("a"));
    assert_eq!((matrix.unwrap().bytes, bytes_of(&asked)), (values().into(), (ROWS * 256) as u64));
    assert_eq!(fetched(file, data, || source.matrix("a")).1, [], "it is here");
    data.forget();
    assert!(matches!(source.matrix("a"), Err(FormatError::NotFetched { .. })), "it is gone");
}

#[test]
fn a_remote_gguf_needs_its_header_and_what_is_read() {
    let file = gguf_file();
    let data = FileData::remote(file.len() as u64);
    let (gguf, asked) = fetched(&file, &data, || Gguf::parse(data.clone(), "model.gguf"));
    assert!(asked.len() > 2, "a long header is fetched in growing pieces: {asked:?}");
    assert!(asked.windows(2).all(|pair| pair[0].end == pair[1].start), "no byte twice: {asked:?}");
    // The tensors here are smaller than the last piece, but they need not have been fetched.
    let gguf = gguf.unwrap();
    assert_eq!(gguf.get_array_str("tokenizer.ggml.tokens").unwrap().unwrap().len(), 100_000);
    reads_rows_alone(&file, &gguf, &data, bytes_of(&asked).min(data.len() - 1));
    assert_eq!(fetched(&file, &data, || gguf.matrix("b")).0.unwrap().cols, 64);
}

#[test]
fn a_remote_safetensors_file_needs_its_header_and_what_is_read() {
    let file = safetensors_file();
    let data = FileData::remote(file.len() as u64);
    let (source, asked) = fetched(&file, &data, || Safetensors::parse(data.clone(), "model.safetensors"));
    assert!(asked.len() > 1, "{asked:?}");
    reads_rows_alone(&file, &source.unwrap(), &data, bytes_of(&asked).min(data.len() - 1));
}

#[test]
fn a_remote_file_is_refused_as_one_that_is_here() {
    let whole = gguf_file();
    for (name, file) in [
        ("empty", Vec::new()),
        ("a page", b"<!DOCTYPE html><html></html>".to_vec()),
        ("truncated", whole[..whole.len() - 1000].to_vec()),
        ("cut in its header", whole[..1 << 21].to_vec()),
        ("another version", [b"GGUF\x09\0\0\0".to_vec(), vec![0; 2 << 20]].concat()),
    ] {
        let here = Gguf::parse(file.clone(), "model.gguf").unwrap_err();
        let data = FileData::remote(file.len() as u64);
        let (remote, _) = fetched(&file, &data, || Gguf::parse(data.clone(), "model.gguf"));
        assert_eq!(remote.unwrap_err().code(), here.code(), "{name}");
    }
}
