//! Importance matrices: both forms, known bytes, hostile input.

use std::collections::BTreeMap;

use bytes::Bytes;
use honelm_formats::FormatError;
use honelm_formats::imatrix::{Form, Imatrix, InputSquares};

use crate::common::{RawGguf, pair, string, tensor};

fn entry(sums: &[f32], counts: &[f32]) -> InputSquares {
    InputSquares { sums: sums.to_vec(), counts: counts.to_vec() }
}

fn matrix() -> Imatrix {
    let entries = BTreeMap::from([
        ("blk.0.attn_q.weight".to_owned(), entry(&[4.0, 8.0, 0.0], &[8.0])),
        ("blk.0.ffn_down_exps.weight".to_owned(), entry(&[4.0, 2.0, 0.0, 0.0], &[4.0, 0.0])),
    ]);
    Imatrix { entries, datasets: vec!["text.txt".into()], chunk_count: 2, chunk_size: 4 }
}

fn parse(bytes: Vec<u8>) -> Result<Imatrix, FormatError> {
    Imatrix::parse(Bytes::from(bytes), "imatrix")
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A legacy file with one entry.
fn dat(name: &[u8], chunks: i32, values: &[f32], rest: &[u8]) -> Vec<u8> {
    let (length, count) = ((name.len() as i32).to_le_bytes(), (values.len() as i32).to_le_bytes());
    [&1i32.to_le_bytes()[..], &length, name, &chunks.to_le_bytes(), &count, &f32s(values), rest].concat()
}

/// A GGUF file with the sums and counts of the weight `w`.
fn gguf(sums: &[f32], counts: &[f32]) -> RawGguf {
    let offset = (sums.len() * 4).next_multiple_of(32) as u64;
    let mut raw = RawGguf::valid().with_tensors(&[
        tensor("w.in_sum2", &[sums.len() as u64], 0, 0),
        tensor("w.counts", &[1, counts.len() as u64], 0, offset),
    ]);
    raw.pairs = vec![pair("general.type", 8, &string(b"imatrix"))];
    raw.data = f32s(sums);
    raw.data.resize(offset as usize, 0);
    raw.data.extend(f32s(counts));
    raw
}

#[test]
fn both_forms_give_the_same_means() {
    let whole = matrix();
    assert_eq!(whole.entries["blk.0.attn_q.weight"].means(), [0.5, 1.0, 0.0]);
    assert_eq!(whole.entries["blk.0.ffn_down_exps.weight"].means(), [1.0, 0.5, 1.0, 1.0]);
    assert_eq!(parse(whole.to_bytes(Form::Gguf).unwrap()).unwrap(), whole);
    let legacy = parse(whole.to_bytes(Form::Dat).unwrap()).unwrap();
    assert_eq!((&legacy.datasets, legacy.chunk_count, legacy.chunk_size), (&whole.datasets, 2, 0));
    for (name, entry) in &whole.entries {
        assert_eq!(legacy.entries[name].means(), entry.means(), "{name}");
    }
}

#[test]
fn the_legacy_form_has_the_bytes_of_llama_cpp() {
    let entries = BTreeMap::from([("ab".to_owned(), entry(&[4.0, 8.0], &[8.0]))]);
    let one = Imatrix { entries, datasets: vec!["t".into()], chunk_count: 2, chunk_size: 4 };
    let expected = dat(b"ab", 2, &[1.0, 2.0], b"\x02\0\0\0\x01\0\0\0t");
    assert_eq!(one.to_bytes(Form::Dat).unwrap(), expected);
    // Old files end with the entries, and may count no chunks.
    assert_eq!(parse(dat(b"ab", 0, &[1.0, 2.0], b"")).unwrap().entries["ab"].means(), [1.0, 2.0]);
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for form in [Form::Gguf, Form::Dat] {
        let bytes = matrix().to_bytes(form).unwrap();
        let is_old = |cut: usize| form == Form::Dat && cut == bytes.len() - 4 - 4 - "text.txt".len();
        // GGUF pads the last tensor.
        let end = if form == Form::Gguf { bytes.len() - 24 } else { bytes.len() };
        for cut in (0..end).filter(|&cut| !is_old(cut)) {
            assert!(parse(bytes[..cut].to_vec()).is_err(), "{form:?} cut at {cut}");
        }
    }
}

#[test]
fn hostile_files_are_named_with_their_problem() {
    let long = [&1i32.to_le_bytes()[..], &i32::MAX.to_le_bytes(), &[0; 64]].concat();
    let negative = [&1i32.to_le_bytes()[..], &(-1i32).to_le_bytes(), &[0; 64]].concat();
    let many = [&2i32.to_le_bytes()[..], &dat(b"a", 1, &[1.0], b"")[4..], &dat(b"a", 1, &[1.0], b"")[4..]].concat();
    let mut model = gguf(&[1.0], &[1.0]);
    model.pairs = vec![pair("general.type", 8, &string(b"model\x1b"))];
    let mut half = gguf(&[1.0], &[1.0]);
    half.tensors[0].kind = 1;
    let mut alone = gguf(&[1.0], &[1.0]);
    alone.tensors.pop();
    for (bytes, code, text) in [
        (vec![], "empty-file", ""),
        (vec![0; 4], "not-an-imatrix", "no entries"),
        (b"<html><body>".to_vec(), "implausible-count", "the number of entries"),
        (long, "implausible-count", "the length of the name of entry 0"),
        (negative, "implausible-count", "the length of the name of entry 0"),
        (dat(b"\xff", 1, &[1.0], b""), "invalid-utf8", "the name of entry 0"),
        (dat(b"a", 1, &[], b""), "invalid-imatrix", "0 sums"),
        (dat(b"a", 1, &[1.0, f32::NAN], b""), "invalid-imatrix", "NaN"),
        (dat(b"a", 1, &[-1.0], b""), "invalid-imatrix", "-1"),
        (dat(b"a", 1, &[1.0], b"\0\0\0\0\xff\xff\xff\x7f"), "implausible-count", "text's name"),
        (many, "duplicate-tensor", "'a'"),
        (model.bytes(), "not-an-imatrix", "'model\\u{1b}'"),
        (half.bytes(), "unexpected-element-type", "F16"),
        (alone.bytes(), "missing-tensor", "'w.counts'"),
        (gguf(&[1.0, 2.0, 3.0], &[1.0, 1.0]).bytes(), "invalid-imatrix", "3 sums for 2 counts"),
        (gguf(&[f32::INFINITY], &[1.0]).bytes(), "invalid-imatrix", "inf"),
        (gguf(&[1.0], &[-1.0]).bytes(), "invalid-imatrix", "-1"),
    ] {
        let error = parse(bytes).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().starts_with("imatrix") && error.to_string().contains(text), "{error}");
    }
    assert_eq!(parse(gguf(&[1.0, 2.0], &[2.0]).bytes()).unwrap().entries["w"].means(), [0.5, 1.0]);
}

#[test]
fn what_cannot_be_read_back_is_not_written() {
    for (name, entry) in [("a", entry(&[], &[1.0])), ("a", entry(&[1.0], &[])), ("a", entry(&[f32::NAN], &[1.0]))] {
        let bad = Imatrix { entries: BTreeMap::from([(name.to_owned(), entry)]), ..Imatrix::default() };
        for form in [Form::Gguf, Form::Dat] {
            assert_eq!(bad.to_bytes(form).unwrap_err().code(), "invalid-imatrix");
        }
    }
}

#[test]
fn reads_a_file_of_the_gguf_package() {
    // Written by crates/fuzz/scripts/make_seeds.py with the Python package gguf.
    let found = parse(include_bytes!("../data/imatrix.gguf").to_vec()).unwrap();
    let entries = BTreeMap::from([
        ("blk.0.attn_q.weight".to_owned(), entry(&[0.0, 1.0, 2.0, 3.0], &[8.0])),
        ("blk.0.ffn_down_exps.weight".to_owned(), entry(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[8.0, 8.0])),
    ]);
    assert_eq!(found, Imatrix { entries, datasets: vec!["text.txt".into()], chunk_count: 2, chunk_size: 4 });
}
