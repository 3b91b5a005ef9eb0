//! Builders of valid and invalid files, byte by byte, and a check on memory.

use std::path::PathBuf;

/// A GGUF file, field by field.
#[derive(Clone)]
pub struct RawGguf {
    pub magic: [u8; 4],
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub pair_count: Option<u64>,
    /// The encoded pairs: key, type and value.
    pub pairs: Vec<Vec<u8>>,
    pub tensors: Vec<RawTensorInfo>,
    pub alignment: usize,
    pub data: Vec<u8>,
}

#[derive(Clone)]
pub struct RawTensorInfo {
    pub name: String,
    /// The dimensions, innermost first as in the file.
    pub dimensions: Vec<u64>,
    pub kind: u32,
    pub offset: u64,
}

pub fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> RawTensorInfo {
    RawTensorInfo { name: name.into(), dimensions: dimensions.into(), kind, offset }
}

pub fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

pub fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&string(key.as_bytes())[..], &kind.to_le_bytes(), value].concat()
}

impl RawGguf {
    /// Returns two keys and two F32 tensors of 8 values.
    pub fn valid() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            pair_count: None,
            pairs: vec![pair("general.architecture", 8, &string(b"llama")), pair("n", 4, &7u32.to_le_bytes())],
            tensors: vec![tensor("a", &[4, 2], 0, 0), tensor("b", &[8], 0, 32)],
            alignment: 32,
            data: (0..64).collect(),
        }
    }

    pub fn with_pair(mut self, pair: Vec<u8>) -> Self {
        self.pairs.push(pair);
        self
    }

    pub fn with_tensors(mut self, tensors: &[RawTensorInfo]) -> Self {
        self.tensors = tensors.to_vec();
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.pair_count.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        out.extend(self.pairs.concat());
        for tensor in &self.tensors {
            out.extend(string(tensor.name.as_bytes()));
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            out.extend(tensor.dimensions.iter().flat_map(|d| d.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend(&self.data);
        out
    }
}

/// Returns a safetensors file with this header and data.
pub fn raw_safetensors(header: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
}

pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Returns the folder of larger test data, or reports that the test is skipped.
pub fn test_data(test: &str) -> Option<PathBuf> {
    let found = std::env::var_os("HONELM_TEST_DATA").map(PathBuf::from);
    if found.is_none() {
        eprintln!("SKIPPED {test}: needs HONELM_TEST_DATA");
    }
    found
}

/// Fails if the process ever asked for more address space than small files can need.
pub fn assert_modest_memory() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        eprintln!("SKIPPED assert_modest_memory: needs /proc");
        return;
    };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:")?.split_whitespace().next()?.parse().ok());
    let peak: u64 = peak.expect("VmPeak");
    assert!(peak < 1 << 20, "the process asked for {peak} KiB");
}
