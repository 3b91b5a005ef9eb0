//! Models in several files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{RawGguf, pair, string, tensor};
use honelm_blocks::Encoding;
use honelm_formats::gguf::{self, Gguf};
use honelm_formats::safetensors::{self, Safetensors};
use honelm_formats::{ElementType, FormatError, TensorSource, shard_name};

/// Returns a part with two tensors `names`, whose data are `first`, `first + 1`, ...
fn part(no: u16, count: u16, total: i32, names: [&str; 2], first: u8) -> RawGguf {
    let marks = [
        pair("split.no", 2, &no.to_le_bytes()),
        pair("split.count", 2, &count.to_le_bytes()),
        pair("split.tensors.count", 5, &total.to_le_bytes()),
    ];
    let mut file = RawGguf::valid().with_tensors(&[tensor(names[0], &[4, 2], 0, 0), tensor(names[1], &[8], 0, 32)]);
    if no > 0 {
        file.pairs.clear();
    }
    file.data = (first..first + 64).collect();
    file.pairs.extend(marks);
    file
}

fn join(parts: &[RawGguf]) -> Result<Gguf, FormatError> {
    let named = parts.iter().enumerate().map(|(i, part)| (part.bytes().into(), format!("part-{i}.gguf")));
    Gguf::join(named.collect())
}

fn right() -> [RawGguf; 2] {
    [part(0, 2, 4, ["a", "b"], 0), part(1, 2, 4, ["c", "d"], 100)]
}

#[test]
fn parts_are_one_model_whichever_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = |no: usize| dir.path().join(format!("{}.gguf", shard_name("m", no, 2)));
    for (no, part) in right().iter().enumerate() {
        fs::write(path(no), part.bytes()).unwrap();
    }
    for no in 0..2 {
        let model = Gguf::open(path(no)).unwrap();
        assert_eq!(model.names(), ["a", "b", "c", "d"]);
        assert_eq!(model.get_str("general.architecture").unwrap(), Some("llama"));
        assert_eq!(model.get("d").unwrap().bytes[0], 132);
        assert_eq!(model.file_of("b"), path(0).display().to_string());
        assert_eq!(model.file_of("c"), path(1).display().to_string());
        assert_eq!(model.files().map(PathBuf::from).collect::<Vec<_>>(), [path(0), path(1)]);
    }
    fs::remove_file(path(1)).unwrap();
    let error = Gguf::open(path(0)).unwrap_err();
    assert_eq!(error.code(), "missing-shard");
    assert!(error.to_string().contains("m-00002-of-00002.gguf"), "{error}");
    let renamed = dir.path().join("model.gguf");
    fs::rename(path(0), &renamed).unwrap();
    assert_eq!(Gguf::open(&renamed).unwrap_err().code(), "split-name");
}

#[test]
fn rejects_parts_that_do_not_belong_together() {
    assert!(join(&right()).is_ok());
    let [a, b] = right();
    let code = |parts: &[RawGguf]| join(parts).expect_err("must be refused").code();
    assert_eq!(code(&[b.clone(), a.clone()]), "split-mismatch", "in another order");
    assert_eq!(code(&[a.clone(), a.clone()]), "split-mismatch", "the same twice");
    assert_eq!(code(std::slice::from_ref(&a)), "split-mismatch", "too few");
    assert_eq!(code(&[a.clone(), b.clone(), b.clone()]), "split-mismatch", "too many");
    assert_eq!(code(&[]), "empty-file");
    assert_eq!(code(&[a.clone(), part(1, 3, 4, ["c", "d"], 0)]), "split-mismatch", "of another number of parts");
    assert_eq!(code(&[a.clone(), part(1, 2, 9, ["c", "d"], 0)]), "split-mismatch", "of another number of tensors");
    assert_eq!(
        code(&[part(0, 2, 5, ["a", "b"], 0), part(1, 2, 5, ["c", "d"], 0)]),
        "split-mismatch",
        "not all tensors"
    );
    let overlapping = join(&[a.clone(), part(1, 2, 4, ["c", "b"], 0)]).expect_err("must be refused");
    assert_eq!(overlapping.code(), "tensor-in-two-shards");
    assert!(overlapping.to_string().contains("part-1.gguf: tensor 'b' is also in part-0.gguf"), "{overlapping}");
    let foreign = b.clone().with_pair(pair("general.architecture", 8, &string(b"gpt2")));
    assert_eq!(code(&[a.clone(), foreign]), "split-mismatch", "metadata that contradict");
    let unmarked = RawGguf { pairs: Vec::new(), ..b };
    assert_eq!(code(&[a.clone(), unmarked]), "split-mismatch", "no part");
    let many = a.with_pair(pair("general.alignment", 4, &32u32.to_le_bytes()));
    let wide = RawGguf { pairs: vec![pair("split.count", 4, &(1u32 << 20).to_le_bytes())], ..many };
    assert_eq!(code(&[wide]), "split-mismatch", "a count beyond 16 bits");
}

/// The number of F32 values of tensors `t0`, `t1`, ... Tensor i is filled with bytes i.
const SIZES: [usize; 6] = [100, 300, 20, 1000, 8, 8];

fn read_back(source: &dyn TensorSource) {
    for (i, size) in SIZES.into_iter().enumerate() {
        let tensor = source.get(&format!("t{i}")).unwrap();
        assert_eq!((tensor.shape.clone(), tensor.bytes.len()), (vec![size], 4 * size));
        assert!(tensor.bytes.iter().all(|&b| usize::from(b) == i));
    }
}

fn data(tensor: &str) -> u8 {
    tensor[1..].parse().unwrap()
}

/// Writes the model in parts of at most `limit` bytes, or of one tensor, and returns the number of parts.
fn write_gguf(dir: &Path, limit: u64) -> usize {
    let mut writer = gguf::Writer::new();
    writer.metadata("general.architecture", "llama").unwrap();
    writer.metadata("general.alignment", 64u32).unwrap();
    for (i, size) in SIZES.into_iter().enumerate() {
        writer.tensor(format!("t{i}"), &[size], Encoding::F32).unwrap();
    }
    let parts = writer.split(limit).unwrap();
    for (no, part) in parts.iter().enumerate() {
        let path = dir.join(format!("{}.gguf", shard_name("m", no, parts.len())));
        let mut out = Vec::new();
        part.write_to(&mut out, "m", |info, sink| sink.write(&vec![data(&info.name); info.size as usize])).unwrap();
        assert_eq!(out.len() as u64, part.file_size().unwrap());
        assert!(out.len() as u64 <= limit || part.tensors().len() == 1, "part {no} has {} bytes", out.len());
        fs::write(path, &out).unwrap();
    }
    parts.len()
}

#[test]
fn gguf_parts_keep_to_the_limit_and_are_read_back() {
    for (limit, count) in [(1, 6), (1000, 5), (2600, 3), (1 << 20, 1)] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write_gguf(dir.path(), limit), count, "{limit}");
        let last = dir.path().join(format!("{}.gguf", shard_name("m", count - 1, count)));
        let model = Gguf::open(last).unwrap();
        assert_eq!(model.get_str("general.architecture").unwrap(), Some("llama"));
        read_back(&model);
    }
}

#[test]
fn safetensors_shards_keep_to_the_limit_and_are_read_back() {
    for (limit, count) in [(1, 6), (1000, 5), (2200, 3), (1 << 20, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = safetensors::Writer::new();
        for (i, size) in SIZES.into_iter().enumerate() {
            writer.tensor(format!("t{i}"), &[size], ElementType::Weights(Encoding::F32)).unwrap();
        }
        let parts = writer.split(limit).unwrap();
        assert_eq!(parts.len(), count, "{limit}");
        let name = |no: usize| format!("{}.safetensors", shard_name("model", no, count));
        let parts: Vec<_> = parts.into_iter().enumerate().map(|(no, part)| (name(no), part)).collect();
        for (name, part) in &parts {
            let mut out = Vec::new();
            part.write_to::<_, FormatError>(&mut out, name, |info, sink| {
                sink.write(&vec![data(&info.name); info.size as usize])
            })
            .unwrap();
            assert!(out.len() as u64 <= limit || part.tensors().len() == 1, "{name} has {} bytes", out.len());
            // The reference implementation reads every shard by itself.
            assert_eq!(honelm_testing::SafeTensors::deserialize(&out).unwrap().len(), part.tensors().len());
            fs::write(dir.path().join(name), out).unwrap();
        }
        let index = safetensors::index(&parts);
        assert_eq!(index["metadata"]["total_size"], SIZES.iter().sum::<usize>() * 4);
        fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        read_back(&Safetensors::open(dir.path()).unwrap());
    }
}
