//! The float product that linear modules and attention share.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod lanes;
mod product;
#[cfg(target_arch = "wasm32")]
pub(crate) mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use lanes::{Generic, Lanes, Number};
pub(crate) use product::{Rows, STRIDE, Scratch, Tiles, height, load_row, packed, store_row, strided};

/// Runs `$name` with the token of `$isa`, inside a function that is compiled for the instruction set. `$name` must be an
/// `#[inline(always)]` function whose first parameter is the token.
macro_rules! with_lanes {
    ($isa:expr, $name:ident($($arg:ident: $ty:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        #[allow(clippy::too_many_arguments, reason = "the same arguments as the body")]
        fn avx2(token: $crate::Avx2, $($arg: $ty),*) {
            $name(token, $($arg),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        #[allow(clippy::too_many_arguments, reason = "the same arguments as the body")]
        fn avx512(token: $crate::Avx512, $($arg: $ty),*) {
            $name(token, $($arg),*)
        }
        // One copy: the further features are of no use here.
        #[cfg(target_arch = "aarch64")]
        #[allow(clippy::too_many_arguments, reason = "the same arguments as the body")]
        fn neon(token: $crate::Neon, $($arg: $ty),*) {
            $name(token, $($arg),*)
        }
        match $isa {
            $crate::Isa::Generic => $name($crate::kernel::Generic, $($arg),*),
            #[cfg(target_arch = "wasm32")]
            $crate::Isa::Simd128(token) => $name(token, $($arg),*),
            #[cfg(target_arch = "aarch64")]
            $crate::Isa::Neon(token) => neon(token, $($arg),*),
            #[cfg(target_arch = "aarch64")]
            $crate::Isa::DotProd(token) => neon(token.narrower(), $($arg),*),
            #[cfg(target_arch = "aarch64")]
            $crate::Isa::I8mm(token) => neon(token.narrower().narrower(), $($arg),*),
            // SAFETY: the token proves that the CPU has the features that the function enables.
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx2(token) => unsafe { avx2(token, $($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx512(token) => unsafe { avx512(token, $($arg),*) },
        }
    }};
}
pub(crate) use with_lanes;
