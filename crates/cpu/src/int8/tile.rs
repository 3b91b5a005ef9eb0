//! Tiles of 16 output rows: the layout of each encoding, and its use by kernels.
//!
//! A tile is a sequence of chunks of 8 blocks (256 columns). A chunk is a sequence of sections (codes, scales, ...). A section
//! holds one part of the 8 blocks for the 16 rows.

use super::{activations::BLOCK, simd::Simd};
use crate::TILE;

/// The number of blocks (of 32 columns) that are stored and unpacked together: 256 columns, as in the K-quants.
pub(super) const CHUNK: usize = 8;

/// The formula that decodes a block. q is a code; the other values are per output row and block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// w = scale * (q - z), one z for the whole matrix.
    Zero,
    /// w = scale * (q - z).
    RowZero,
    /// w = scale * q + offset.
    Offset,
    /// w = scale * (q - z) in columns 0..16 and second * (q - z) in columns 16..32, one z for the whole matrix.
    Halves,
    /// w = scale * q + offsets\[0\] in columns 0..16 and second * q + offsets\[1\] in columns 16..32; less than 8 bits.
    OffsetHalves,
}

/// The properties of an encoding that an inner loop needs at compile time. Encodings with the same properties share the loop.
pub(super) trait Shape: Copy + Send + Sync {
    /// The number of bits of an unpacked code.
    const BITS: u32;
    const RULE: Rule;
}

/// [`Rule::Zero`] with codes of `BITS` bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zero<const BITS: u32>;
/// [`Rule::RowZero`] with codes of `BITS` bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowZero<const BITS: u32>;
/// [`Rule::Offset`] with codes of `BITS` bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offset<const BITS: u32>;
/// [`Rule::Halves`] with codes of `BITS` bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Halves<const BITS: u32>;
/// [`Rule::OffsetHalves`] with codes of `BITS` bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct OffsetHalves<const BITS: u32>;

impl<const BITS: u32> Shape for Zero<BITS> {
    const BITS: u32 = BITS;
    const RULE: Rule = Rule::Zero;
}

impl<const BITS: u32> Shape for RowZero<BITS> {
    const BITS: u32 = BITS;
    const RULE: Rule = Rule::RowZero;
}

impl<const BITS: u32> Shape for Offset<BITS> {
    const BITS: u32 = BITS;
    const RULE: Rule = Rule::Offset;
}

impl<const BITS: u32> Shape for Halves<BITS> {
    const BITS: u32 = BITS;
    const RULE: Rule = Rule::Halves;
}

impl<const BITS: u32> Shape for OffsetHalves<BITS> {
    const BITS: u32 = BITS;
    const RULE: Rule = Rule::OffsetHalves;
}

/// 32 columns of the 16 rows of a tile.
pub(super) struct Block<S: Simd> {
    /// Codes; vector v holds columns `4 v..4 v + 4`.
    pub codes: [S::Codes; 8],
    pub scale: S::Floats,
    /// The offset of [`Rule::Offset`], or the second scale of [`Rule::Halves`] and [`Rule::OffsetHalves`].
    pub second: S::Floats,
    /// The offsets of [`Rule::OffsetHalves`].
    pub offsets: [S::Floats; 2],
    /// The zero points of [`Rule::RowZero`].
    pub zeros: S::Ints,
}

impl<S: Simd> Block<S> {
    /// Creates a block of [`Rule::Zero`]. The other rules replace fields.
    #[inline(always)]
    pub fn new(s: S, codes: [S::Codes; 8], scale: S::Floats) -> Self {
        Self { codes, scale, second: s.floats(0.0), offsets: [s.floats(0.0); 2], zeros: s.ints(0) }
    }
}

/// A part of a chunk that holds `bytes` bytes for every `blocks` blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    pub bytes: usize,
    /// The number of blocks, a divisor of [`CHUNK`].
    pub blocks: usize,
}

impl Section {
    /// An absent section.
    pub const NONE: Self = Self { bytes: 0, blocks: 1 };

    /// A section with `bytes` bytes for each block.
    pub const fn each(bytes: usize) -> Self {
        Self { bytes, blocks: 1 }
    }
}

/// The tile format of an encoding, one file each.
pub(super) trait TileFormat: Copy + Send + Sync {
    type Shape: Shape;

    /// The number of cache lines to prefetch per block, enough for a whole chunk.
    const LINES: usize;

    /// `true` if 2 to 8 rows have kernels of their own, which is worth the code for the common encodings. Otherwise the first
    /// few rows are computed one by one, and more rows by the kernel for many rows.
    const FEW_ROWS: bool = true;

    /// Returns the sections of a chunk in order, the codes first.
    fn sections(&self) -> [Section; 4];

    /// Returns z of [`Rule::Zero`] and [`Rule::Halves`].
    fn zero(&self) -> i32 {
        0
    }

    /// Unpacks block `b` of `chunk`.
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S>;

    /// Unpacks vector `v` of the codes of block `b`, the same as in [`TileFormat::block`].
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes;
}

/// Up to 8 blocks of a tile: their sections, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub bytes: &'a [u8],
    /// The first byte of each section.
    pub starts: [usize; 4],
    /// The number of blocks.
    pub len: usize,
}

impl Chunk<'_> {
    /// Returns `N` bytes from `at` on of section `section`.
    #[inline(always)]
    pub fn get<const N: usize>(&self, section: usize, at: usize) -> &[u8; N] {
        bytes_at(self.bytes, self.starts[section] + at)
    }
}

/// The positions of the parts of a tile: chunks of 8 blocks, read as one stream, and possibly a shorter chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileLayout {
    /// The number of blocks of 32 columns.
    pub blocks: usize,
    sections: [Section; 4],
    /// The first byte of each section, in a full chunk and in a shorter last chunk.
    starts: [[usize; 4]; 2],
    /// Bytes per full chunk, a multiple of the cache line.
    chunk_bytes: usize,
    /// Bytes per tile, a multiple of the cache line.
    pub tile_bytes: usize,
}

impl TileLayout {
    /// Computes the layout; `None` if the size of a tile overflows.
    pub fn new(sections: [Section; 4], cols: usize) -> Option<Self> {
        let blocks = cols / BLOCK;
        let place = |count: usize| {
            let (mut starts, mut end) = ([0; 4], 0);
            for (start, section) in starts.iter_mut().zip(sections) {
                *start = end;
                end += section.bytes * count.div_ceil(section.blocks);
            }
            (starts, end.next_multiple_of(64))
        };
        let ((full, chunk_bytes), (tail, tail_bytes)) = (place(CHUNK), place(blocks % CHUNK));
        let tile_bytes = (blocks / CHUNK).checked_mul(chunk_bytes)?.checked_add(tail_bytes)?;
        Some(Self { blocks, sections, starts: [full, tail], chunk_bytes, tile_bytes })
    }

    /// Returns the number of chunks.
    #[inline(always)]
    pub fn chunks(&self) -> usize {
        self.blocks.div_ceil(CHUNK)
    }

    /// Returns chunk `c` of `tile`.
    #[inline(always)]
    pub fn chunk<'a>(&self, tile: &'a [u8], c: usize) -> Chunk<'a> {
        let len = (self.blocks - c * CHUNK).min(CHUNK);
        let bytes = &tile[c * self.chunk_bytes..];
        Chunk { bytes, starts: self.starts[usize::from(len < CHUNK)], len }
    }

    /// Returns the offset in a tile of block `b`'s part of section `section`.
    pub fn at(&self, b: usize, section: usize) -> usize {
        let c = b / CHUNK;
        let starts = self.starts[usize::from(self.blocks - c * CHUNK < CHUNK)];
        let Section { bytes, blocks } = self.sections[section];
        c * self.chunk_bytes + starts[section] + b % CHUNK / blocks * bytes
    }
}

/// Returns the number of tiles of `rows` output rows.
pub(super) const fn tile_count(rows: usize) -> usize {
    rows.div_ceil(TILE)
}

/// Returns `N` bytes from `at` on.
#[inline(always)]
pub(super) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    match bytes[at..].first_chunk() {
        Some(chunk) => chunk,
        None => panic!("{N} bytes at {at} of {}", bytes.len()),
    }
}

/// Unpacks the codes of block `b` from nibbles: the low nibbles of vector v are vector v, the high ones vector v + 4.
#[inline(always)]
pub(super) fn nibbles<S: Simd>(s: S, chunk: &Chunk<'_>, b: usize) -> [S::Codes; 8] {
    let bytes: &[u8; 256] = chunk.get(0, b * 256);
    let mut codes = [s.codes(bytes_at(bytes, 0)); 8];
    let mut v = 0;
    while v < 4 {
        let packed = s.codes(bytes_at(bytes, v * 64));
        codes[v] = s.low_nibbles(packed);
        codes[v + 4] = s.high_nibbles(packed);
        v += 1;
    }
    codes
}

/// Unpacks vector `v` of [`nibbles`].
#[inline(always)]
pub(super) fn nibble_vector<S: Simd>(s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
    let bytes: &[u8; 256] = chunk.get(0, b * 256);
    s.bits_at(s.codes(bytes_at(bytes, v % 4 * 64)), (v & 4) as u32, 15)
}

/// Loads the codes of block `b` from bytes.
#[inline(always)]
pub(super) fn whole_bytes<S: Simd>(s: S, chunk: &Chunk<'_>, b: usize) -> [S::Codes; 8] {
    let bytes: &[u8; 512] = chunk.get(0, b * 512);
    let mut codes = [s.codes(bytes_at(bytes, 0)); 8];
    let mut v = 1;
    while v < 8 {
        codes[v] = s.codes(bytes_at(bytes, v * 64));
        v += 1;
    }
    codes
}

/// Loads vector `v` of [`whole_bytes`].
#[inline(always)]
pub(super) fn byte_vector<S: Simd>(s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
    let bytes: &[u8; 512] = chunk.get(0, b * 512);
    s.codes(bytes_at(bytes, v % 8 * 64))
}

/// Unpacks the codes of block `b` from pairs of bits: vector v is at bit `2 (v % 4)` of vector v / 4.
#[inline(always)]
pub(super) fn pairs<S: Simd>(s: S, chunk: &Chunk<'_>, b: usize) -> [S::Codes; 8] {
    let bytes: &[u8; 128] = chunk.get(0, b * 128);
    let packed = [s.codes(bytes_at(bytes, 0)), s.codes(bytes_at(bytes, 64))];
    let mut codes = [packed[0]; 8];
    let mut v = 0;
    while v < 8 {
        codes[v] = s.pair(packed[v / 4], v % 4);
        v += 1;
    }
    codes
}

/// Unpacks vector `v` of [`pairs`].
#[inline(always)]
pub(super) fn pair_vector<S: Simd>(s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
    let bytes: &[u8; 128] = chunk.get(0, b * 128);
    s.bits_at(s.codes(bytes_at(bytes, v / 4 % 2 * 64)), 2 * (v % 4) as u32, 3)
}

/// Adds `value` to the codes of vector `v` as [`with_bits`] does.
#[inline(always)]
pub(super) fn with_bits_of<S: Simd>(s: S, codes: S::Codes, masks: &[u8; 64], v: usize, value: u8) -> S::Codes {
    s.add_where(codes, u64::from_le_bytes(*bytes_at(masks, v % 8 * 8)), value)
}

/// Adds `value` to the codes whose bit is set. There are 8 masks per block; bit `4 lane + j` of mask v is for column `4 v + j`.
#[inline(always)]
pub(super) fn with_bits<S: Simd>(s: S, codes: &mut [S::Codes; 8], masks: &[u8; 64], value: u8) {
    let mut v = 0;
    while v < 8 {
        let mask = u64::from_le_bytes(*bytes_at(masks, v * 8));
        codes[v] = s.add_where(codes[v], mask, value);
        v += 1;
    }
}

/// Writes row `lane` of a block as nibbles. Byte j of `packed` holds column j (low) and column j + 16 (high), as in ggml.
pub(super) fn put_nibbles(tile: &mut [u8], at: usize, lane: usize, packed: &[u8; 16]) {
    for (vector, four) in tile[at..at + 256].as_chunks_mut::<64>().0.iter_mut().zip(packed.as_chunks::<4>().0) {
        vector[4 * lane..4 * lane + 4].copy_from_slice(four);
    }
}

/// Writes row `lane` of a block as pairs of bits, in the order of [`pairs`].
pub(super) fn put_pairs(block: &mut [u8], lane: usize, codes: &[u8; 32]) {
    for (c, vector) in block.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        for j in 0..4 {
            let at = |t: usize| codes[16 * c + 4 * t + j] & 3;
            vector[4 * lane + j] = at(0) | at(1) << 2 | at(2) << 4 | at(3) << 6;
        }
    }
}

/// Writes row `lane` of a block as bytes.
pub(super) fn put_bytes(tile: &mut [u8], at: usize, lane: usize, codes: &[u8; 32]) {
    for (vector, four) in tile[at..at + 512].as_chunks_mut::<64>().0.iter_mut().zip(codes.as_chunks::<4>().0) {
        vector[4 * lane..4 * lane + 4].copy_from_slice(four);
    }
}

/// Writes the masks of [`with_bits`] for row `lane` of a block. Bit k of `high` is for column k.
pub(super) fn put_bits(tile: &mut [u8], at: usize, lane: usize, high: u32) {
    for (v, mask) in tile[at..at + 64].as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let four = u64::from(high >> (4 * v) & 15) << (4 * lane);
        *mask = (u64::from_le_bytes(*mask) | four).to_le_bytes();
    }
}

/// Writes lane `lane` of 16 numbers of `N` bytes.
pub(super) fn put_lane<const N: usize>(tile: &mut [u8], at: usize, lane: usize, number: &[u8; N]) {
    tile[at + N * lane..][..N].copy_from_slice(number);
}

/// Packs codes below 16: byte j holds column j (low) and column j + 16 (high).
pub(super) fn to_nibbles(codes: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|j| codes[j] & 15 | codes[j + 16] << 4)
}
