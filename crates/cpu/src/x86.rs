//! Vectors of AVX2 and AVX-512 in memory.

use std::arch::x86_64::*;

use bytemuck::Pod;

use crate::intrinsics::{Token, registers};
use crate::{Avx2, Avx512};

impl Token for Avx2 {}
impl Token for Avx512 {}
registers!(__m128i __m256i __m512i __m256 __m512 i8 i16 i32 i64 u64 f32);

impl Avx2 {
    /// Loads 16 bytes.
    #[inline(always)]
    pub(crate) fn load_128<T: Pod, const N: usize>(self, values: &[T; N]) -> __m128i {
        const { assert!(size_of::<[T; N]>() == 16, "one vector") };
        // SAFETY: the token proves the instruction, which reads the 16 bytes of `values` at any alignment.
        unsafe { _mm_loadu_si128(values.as_ptr().cast()) }
    }

    /// Loads 32 bytes as two vectors of 16.
    #[inline(always)]
    pub(crate) fn load_128_pair<T: Pod, const N: usize>(self, values: &[T; N]) -> [__m128i; 2] {
        const { assert!(size_of::<[T; N]>() == 32, "two vectors") };
        let p = values.as_ptr().cast::<__m128i>();
        // SAFETY: the token proves the instruction; both vectors lie within the 32 bytes of `values`, at any alignment.
        unsafe { [_mm_loadu_si128(p), _mm_loadu_si128(p.add(1))] }
    }

    /// Loads 64 bytes as two vectors of 32.
    #[inline(always)]
    pub(crate) fn load_256_pair<T: Pod, const N: usize>(self, values: &[T; N]) -> [__m256i; 2] {
        const { assert!(size_of::<[T; N]>() == 64, "two vectors") };
        let p = values.as_ptr().cast::<__m256i>();
        // SAFETY: the token proves the instruction; both vectors lie within the 64 bytes of `values`, at any alignment.
        unsafe { [_mm256_loadu_si256(p), _mm256_loadu_si256(p.add(1))] }
    }

    /// Stores two vectors of 32 bytes.
    #[inline(always)]
    pub(crate) fn store_256_pair<T: Pod, const N: usize>(self, v: [__m256i; 2], out: &mut [T; N]) {
        const { assert!(size_of::<[T; N]>() == 64, "two vectors") };
        let p = out.as_mut_ptr().cast::<__m256i>();
        // SAFETY: the token proves the instruction; both vectors lie within the 64 bytes of `out`, at any alignment, and
        // every bit pattern is a value of a `Pod` type.
        unsafe {
            _mm256_storeu_si256(p, v[0]);
            _mm256_storeu_si256(p.add(1), v[1]);
        }
    }
}

impl Avx512 {
    /// Loads 16 bytes.
    #[inline(always)]
    pub(crate) fn load_128<T: Pod, const N: usize>(self, values: &[T; N]) -> __m128i {
        const { assert!(size_of::<[T; N]>() == 16, "one vector") };
        // SAFETY: the token proves the instruction, which reads the 16 bytes of `values` at any alignment.
        unsafe { _mm_loadu_si128(values.as_ptr().cast()) }
    }

    /// Loads 32 bytes.
    #[inline(always)]
    pub(crate) fn load_256<T: Pod, const N: usize>(self, values: &[T; N]) -> __m256i {
        const { assert!(size_of::<[T; N]>() == 32, "one vector") };
        // SAFETY: the token proves the instruction, which reads the 32 bytes of `values` at any alignment.
        unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
    }

    /// Loads 64 bytes.
    #[inline(always)]
    pub(crate) fn load_512<T: Pod, const N: usize>(self, values: &[T; N]) -> __m512i {
        const { assert!(size_of::<[T; N]>() == 64, "one vector") };
        // SAFETY: the token proves the instruction, which reads the 64 bytes of `values` at any alignment.
        unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
    }

    /// Stores 64 bytes.
    #[inline(always)]
    pub(crate) fn store_512<T: Pod, const N: usize>(self, v: __m512i, out: &mut [T; N]) {
        const { assert!(size_of::<[T; N]>() == 64, "one vector") };
        // SAFETY: the token proves the instruction, which writes the 64 bytes of `out` at any alignment; every bit pattern
        // is a value of a `Pod` type.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), v) };
    }
}

/// Asks for the cache line of item `at` of `items`, which may lie past the end.
#[inline(always)]
pub(crate) fn prefetch<T>(items: &[T], at: usize) {
    let address = items.as_ptr().wrapping_add(at).cast();
    // SAFETY: every x86-64 CPU has the instruction, which accesses no memory that the program can see: any address will do.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
}
