//! The vector operations of the kernels, which are written once for all instruction sets.

/// Code that is compiled once per instruction set.
pub(super) trait Kernel<S: Simd> {
    /// Runs the kernel. Implementations are `#[inline(always)]`, so that they are compiled inside the function that enables
    /// the instructions.
    fn run(self, s: S);
}

/// Sixteen lanes, one per output row of a tile.
///
/// An implementor is a token that proves its instructions, so every method is safe. All methods are inlined into the
/// function that enables the instructions. Every operation is exact or correctly rounded, so all implementors give the same
/// bits.
pub(super) trait Simd: Copy {
    /// 64 codes: 4 consecutive columns of each of 16 rows.
    type Codes: Copy;
    /// 16 integers, one per row.
    type Ints: Copy;
    /// 16 floats, one per row.
    type Floats: Copy;

    /// The number of activation rows whose sums fit in registers together.
    const ROWS: usize;

    /// Runs `kernel` in a separate function that enables the instructions.
    fn launch<K: Kernel<Self>>(self, kernel: K);

    /// Returns the number that [`Simd::dot`] subtracts from every code of `bits` bits.
    fn code_shift(bits: u32) -> i32;

    fn codes(self, bytes: &[u8; 64]) -> Self::Codes;
    fn store_codes(self, codes: Self::Codes, out: &mut [u8; 64]);
    fn low_nibbles(self, v: Self::Codes) -> Self::Codes;
    fn high_nibbles(self, v: Self::Codes) -> Self::Codes;
    /// Returns bits `2 t` and `2 t + 1` of each byte.
    fn pair(self, v: Self::Codes, t: usize) -> Self::Codes;
    /// Returns each byte shifted right by `shift`, reduced to the bits of `mask`, which must be below `256 >> shift`.
    fn bits_at(self, v: Self::Codes, shift: u32, mask: u8) -> Self::Codes;
    /// Adds `value`, a bit that no code has set, to the codes whose bit of `mask` is set.
    fn add_where(self, codes: Self::Codes, mask: u64, value: u8) -> Self::Codes;
    /// Returns the byte of `table` at the index of each code (below 16).
    fn lookup(self, codes: Self::Codes, table: &[u8; 16]) -> Self::Codes;
    /// Puts bits `2 t` and `2 t + 1` of each byte of `pairs` above the nibble of the same byte of `codes`.
    fn add_pairs(self, codes: Self::Codes, pairs: Self::Codes, t: usize) -> Self::Codes;

    fn ints(self, value: i32) -> Self::Ints;
    fn load_ints(self, values: &[i32; 16]) -> Self::Ints;
    fn store_ints(self, v: Self::Ints, out: &mut [i32; 16]);
    fn ints_from_bytes(self, bytes: &[u8; 16]) -> Self::Ints;
    /// Returns `a * b + c` for `a` in `0..=255` and `b` in `-32768..=32767`.
    fn mul_add_short(self, a: Self::Ints, b: i32, c: Self::Ints) -> Self::Ints;

    /// Adds to `sums[r]` the dot product of vectors `from..to` of the weights, minus [`Simd::code_shift`], with columns
    /// `4 from..4 to` of activation row r; `span` is (0, 4), (4, 8) or (0, 8). Codes must be below `1 << bits`, activations at least -127.
    fn dot<const R: usize>(
        self,
        bits: u32,
        weights: &[Self::Codes; 8],
        span: (usize, usize),
        x: &[[i8; 32]; R],
        sums: &mut [Self::Ints; R],
    );

    /// Returns the dot product of one vector of the weights, minus [`Simd::code_shift`], with 4 activations, which must be at
    /// least -127.
    fn dot_one(self, bits: u32, weights: Self::Codes, x: [i8; 4]) -> Self::Ints;

    /// Returns `128 a + b`.
    fn add_upper(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;

    fn floats(self, value: f32) -> Self::Floats;
    fn load(self, values: &[f32; 16]) -> Self::Floats;
    fn store(self, v: Self::Floats, out: &mut [f32; 16]);
    fn widen_ints(self, v: Self::Ints) -> Self::Floats;
    /// Converts little-endian half-precision numbers.
    fn widen_f16(self, bytes: &[u8; 32]) -> Self::Floats;
    /// Converts little-endian bfloat16 numbers.
    fn widen_bf16(self, bytes: &[u8; 32]) -> Self::Floats;
    /// Loads little-endian single-precision numbers.
    fn widen_f32(self, bytes: &[u8; 64]) -> Self::Floats;
    fn widen_i8(self, bytes: &[u8; 16]) -> Self::Floats;
    fn widen_u8(self, bytes: &[u8; 16]) -> Self::Floats;
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Returns `a * b + c`, rounded once; twice in the browser (see [`crate::math::fused`]).
    fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// Prefetches the cache line at `at`, which may be past the end.
    fn prefetch(self, bytes: &[u8], at: usize);
}
