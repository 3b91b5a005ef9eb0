//! The bounds on a template.

/// The bounds on a template and on each rendering of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest size of the template's source, in bytes.
    pub source_bytes: usize,
    /// The number of bytes that a rendering may read and write. Bytes are counted before they are touched. Each
    /// operation counts as 64 bytes in addition to its operands and its result. Memory in use stays below about 1.5
    /// times this number.
    pub touched_bytes: u64,
    /// The largest size of a string, list or dictionary that the template makes, in bytes.
    pub value_bytes: usize,
    /// The largest size of the output, in bytes.
    pub output_bytes: usize,
    /// The deepest nesting of blocks, expressions and macro calls.
    pub depth: usize,
}

impl Default for Limits {
    /// Returns bounds that published chat templates stay far below: 512 KiB of source, 256 MiB touched, 32 MiB per
    /// value, 4 MiB of output and 400 levels.
    fn default() -> Self {
        Self {
            source_bytes: 512 << 10,
            touched_bytes: 256 << 20,
            value_bytes: 32 << 20,
            output_bytes: 4 << 20,
            depth: 400,
        }
    }
}
