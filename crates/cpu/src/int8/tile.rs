//! Tiles of 16 output rows: how an encoding lays them out and how a kernel reads them.
//!
//! A tile is a sequence of chunks of 8 blocks (256 columns), a chunk a sequence of sections (codes, scales, ...), a section
//! what its 8 blocks have of it for the 16 rows.

use super::{activations::BLOCK, simd::Simd};
use crate::TILE;

/// Blocks (of 32 columns) that lie together and are unpacked together: as many as the K-quants' 256 columns have.
pub(super) const CHUNK: usize = 8;

/// What the codes of a block stand for; q is a code, all else is per output row and block.
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

/// What an inner loop must know of an encoding at compile time; encodings that agree share the loop.
pub(super) trait Shape: Copy + Send + Sync {
    /// Bits of a code once unpacked.
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
    /// Vector v: columns `4 v..4 v + 4`.
    pub codes: [S::Codes; 8],
    pub scale: S::Floats,
    /// The offset of [`Rule::Offset`], the second scale of [`Rule::Halves`] and [`Rule::OffsetHalves`].
    pub second: S::Floats,
    /// The offsets of [`Rule::OffsetHalves`].
    pub offsets: [S::Floats; 2],
    /// The zero points of [`Rule::RowZero`].
    pub zeros: S::Ints,
}

impl<S: Simd> Block<S> {
    /// A block of [`Rule::Zero`]; the other rules replace fields.
    #[inline(always)]
    pub fn new(s: S, codes: [S::Codes; 8], scale: S::Floats) -> Self {
        Self { codes, scale, second: s.floats(0.0), offsets: [s.floats(0.0); 2], zeros: s.ints(0) }
    }
}

/// A part of a chunk that holds `bytes` bytes for every `blocks` blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    pub bytes: usize,
    /// Divides [`CHUNK`].
    pub blocks: usize,
}

impl Section {
    /// Not there.
    pub const NONE: Self = Self { bytes: 0, blocks: 1 };

    /// `bytes` for every block.
    pub const fn each(bytes: usize) -> Self {
        Self { bytes, blocks: 1 }
    }
}

/// An encoding's tiles: one file each.
pub(super) trait TileFormat: Copy + Send + Sync {
    type Shape: Shape;

    /// Cache lines to ask for with every block, so that all of a chunk are.
    const LINES: usize;

    /// Whether 2 to 8 rows have kernels of their own, which the common encodings are worth compiling; without, the first few
    /// go one by one and more the way of many rows.
    const FEW_ROWS: bool = true;

    /// Parts of a chunk in order, the codes first.
    fn sections(&self) -> [Section; 4];

    /// z of [`Rule::Zero`] and [`Rule::Halves`].
    fn zero(&self) -> i32 {
        0
    }

    /// Block `b` of `chunk`.
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S>;
}

/// Up to 8 blocks of a tile: their sections, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub bytes: &'a [u8],
    /// First byte of each section.
    pub starts: [usize; 4],
    /// Blocks.
    pub len: usize,
}

impl Chunk<'_> {
    /// `N` bytes at `at` of section `section`.
    #[inline(always)]
    pub fn get<const N: usize>(&self, section: usize, at: usize) -> &[u8; N] {
        bytes_at(self.bytes, self.starts[section] + at)
    }
}

/// Where things are in a tile: chunks of 8 blocks, so that a kernel reads one stream, and perhaps a shorter one.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileLayout {
    /// Blocks of 32 columns.
    pub blocks: usize,
    sections: [Section; 4],
    /// First byte of each section in a full chunk, and in the last one where that is shorter.
    starts: [[usize; 4]; 2],
    /// Bytes a full chunk, whole cache lines.
    chunk_bytes: usize,
    /// Bytes a tile, whole cache lines.
    pub tile_bytes: usize,
}

impl TileLayout {
    /// `None` where a tile would not fit in memory.
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

    /// Number of chunks.
    #[inline(always)]
    pub fn chunks(&self) -> usize {
        self.blocks.div_ceil(CHUNK)
    }

    /// Chunk `c` of `tile`.
    #[inline(always)]
    pub fn chunk<'a>(&self, tile: &'a [u8], c: usize) -> Chunk<'a> {
        let len = (self.blocks - c * CHUNK).min(CHUNK);
        let bytes = &tile[c * self.chunk_bytes..];
        Chunk { bytes, starts: self.starts[usize::from(len < CHUNK)], len }
    }

    /// Where block `b` has its part of section `section` in a tile.
    pub fn at(&self, b: usize, section: usize) -> usize {
        let c = b / CHUNK;
        let starts = self.starts[usize::from(self.blocks - c * CHUNK < CHUNK)];
        let Section { bytes, blocks } = self.sections[section];
        c * self.chunk_bytes + starts[section] + b % CHUNK / blocks * bytes
    }
}

/// Number of tiles of `rows` output rows.
pub(super) const fn tile_count(rows: usize) -> usize {
    rows.div_ceil(TILE)
}

/// `N` bytes at `at`.
#[inline(always)]
pub(super) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    match bytes[at..].first_chunk() {
        Some(chunk) => chunk,
        None => panic!("{N} bytes at {at} of {}", bytes.len()),
    }
}

/// The codes of block `b` in nibbles: vector v low, vector v + 4 high in vector v.
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

/// The codes of block `b` in bytes.
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

/// The codes of block `b` in pairs of bits: vector v at bit `2 (v % 4)` of vector v / 4.
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

/// Adds a bit of this value to codes: 8 masks a block, bit `4 lane + j` of mask v for column `4 v + j`.
#[inline(always)]
pub(super) fn with_bits<S: Simd>(s: S, codes: &mut [S::Codes; 8], masks: &[u8; 64], value: u8) {
    let mut v = 0;
    while v < 8 {
        let mask = u64::from_le_bytes(*bytes_at(masks, v * 8));
        codes[v] = s.add_where(codes[v], mask, value);
        v += 1;
    }
}

/// Writes row `lane` of a block in nibbles; `packed` byte j has column j low and column j + 16 high (ggml's order).
pub(super) fn put_nibbles(tile: &mut [u8], at: usize, lane: usize, packed: &[u8; 16]) {
    for (vector, four) in tile[at..at + 256].as_chunks_mut::<64>().0.iter_mut().zip(packed.as_chunks::<4>().0) {
        vector[4 * lane..4 * lane + 4].copy_from_slice(four);
    }
}

/// Writes row `lane` of a block in pairs of bits, as [`pairs`] reads them.
pub(super) fn put_pairs(block: &mut [u8], lane: usize, codes: &[u8; 32]) {
    for (c, vector) in block.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        for j in 0..4 {
            let at = |t: usize| codes[16 * c + 4 * t + j] & 3;
            vector[4 * lane + j] = at(0) | at(1) << 2 | at(2) << 4 | at(3) << 6;
        }
    }
}

/// Writes row `lane` of a block in bytes.
pub(super) fn put_bytes(tile: &mut [u8], at: usize, lane: usize, codes: &[u8; 32]) {
    for (vector, four) in tile[at..at + 512].as_chunks_mut::<64>().0.iter_mut().zip(codes.as_chunks::<4>().0) {
        vector[4 * lane..4 * lane + 4].copy_from_slice(four);
    }
}

/// Writes what [`with_bits`] reads of row `lane` of a block; bit k of `high` is column k's.
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

/// Columns j low and j + 16 high in byte j, from codes below 16.
pub(super) fn to_nibbles(codes: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|j| codes[j] & 15 | codes[j + 16] << 4)
}
