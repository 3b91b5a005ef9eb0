//! Instruction sets, and tokens that prove that the machine has them.

use std::fmt;

/// A proof that the CPU has AVX2, FMA and F16C, created by detection only.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

/// A proof that the CPU has AVX-512 F, BW, DQ, VL and VNNI and everything that [`Avx2`] proves, created by detection only.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// Returns the token if the CPU has the features.
    #[must_use]
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c"))
            .then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// Returns the token if the CPU has the features.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        (found && Avx2::detect().is_some()).then_some(Self(()))
    }

    /// Returns the token of the narrower vectors.
    pub(crate) fn narrower(self) -> Avx2 {
        Avx2(())
    }
}

/// A proof that the program was compiled for the 128-bit vectors that every aarch64 CPU of an operating system has.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neon(());

/// A proof that the CPU has dot products of signed bytes (FEAT_DotProd) and everything that [`Neon`] proves, created by
/// detection only.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DotProd(());

/// A proof that the CPU has dot products of unsigned with signed bytes (FEAT_I8MM) and everything that [`DotProd`] proves,
/// created by detection only.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct I8mm(());

#[cfg(target_arch = "aarch64")]
impl Neon {
    /// Returns the token if the program was compiled for these vectors.
    #[must_use]
    pub fn detect() -> Option<Self> {
        cfg!(target_feature = "neon").then_some(Self(()))
    }
}

#[cfg(target_arch = "aarch64")]
impl DotProd {
    /// Returns the token if the CPU has the features.
    #[must_use]
    pub fn detect() -> Option<Self> {
        (Neon::detect().is_some() && std::arch::is_aarch64_feature_detected!("dotprod")).then_some(Self(()))
    }

    /// Returns the token without dot products.
    pub(crate) fn narrower(self) -> Neon {
        Neon(())
    }
}

#[cfg(target_arch = "aarch64")]
impl I8mm {
    /// Returns the token if the CPU has the features.
    #[must_use]
    pub fn detect() -> Option<Self> {
        (DotProd::detect().is_some() && std::arch::is_aarch64_feature_detected!("i8mm")).then_some(Self(()))
    }

    /// Returns the token without dot products of unsigned with signed bytes.
    pub(crate) fn narrower(self) -> DotProd {
        DotProd(())
    }
}

/// A proof that the module was compiled for WebAssembly's 128-bit vectors: an engine without them cannot load it.
#[cfg(target_arch = "wasm32")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simd128(());

#[cfg(target_arch = "wasm32")]
impl Simd128 {
    /// Returns the token if the module was compiled for these vectors.
    #[must_use]
    pub fn detect() -> Option<Self> {
        cfg!(target_feature = "simd128").then_some(Self(()))
    }
}

/// An instruction set that the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Portable code.
    Generic,
    /// 128-bit vectors of WebAssembly.
    #[cfg(target_arch = "wasm32")]
    Simd128(Simd128),
    /// 128-bit vectors of aarch64.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// The same with dot products of bytes.
    #[cfg(target_arch = "aarch64")]
    DotProd(DotProd),
    /// The same with dot products of unsigned with signed bytes.
    #[cfg(target_arch = "aarch64")]
    I8mm(I8mm),
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// 512-bit vectors and 8-bit dot products.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Isa {
    /// Returns the machine's instruction sets, the most capable last.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let all = [
            Some(Self::Generic),
            #[cfg(target_arch = "wasm32")]
            Simd128::detect().map(Self::Simd128),
            #[cfg(target_arch = "aarch64")]
            Neon::detect().map(Self::Neon),
            #[cfg(target_arch = "aarch64")]
            DotProd::detect().map(Self::DotProd),
            #[cfg(target_arch = "aarch64")]
            I8mm::detect().map(Self::I8mm),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Avx512::detect().map(Self::Avx512),
        ];
        all.into_iter().flatten().collect()
    }

    /// Returns the machine's most capable instruction set.
    ///
    /// The environment variable `HONELM_ISA` can lower the choice to another name of [`Isa::available`], but not raise it.
    /// The names are those of [`Isa::name`]; another has no effect.
    #[must_use]
    pub fn detect() -> Self {
        let limit = std::env::var("HONELM_ISA").ok();
        Self::best_of(&Self::available(), limit.as_deref())
    }

    fn best_of(available: &[Self], limit: Option<&str>) -> Self {
        let limited = available.iter().find(|isa| limit.is_some_and(|limit| isa.name().eq_ignore_ascii_case(limit)));
        limited.or(available.last()).copied().unwrap_or(Self::Generic)
    }

    /// Returns `generic`; `simd128`; `neon`, `dotprod` or `i8mm`; `avx2` or `avx512`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            #[cfg(target_arch = "wasm32")]
            Self::Simd128(_) => "simd128",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::DotProd(_) => "dotprod",
            #[cfg(target_arch = "aarch64")]
            Self::I8mm(_) => "i8mm",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Compiles a portable function once per instruction set and calls the right copy.
///
/// `multiversion! { pub(crate) fn name(a: A, b: B) -> R = body; }` defines `name(isa, a, b)`. `body` must be
/// `#[inline(always)]`, so that it is compiled and vectorised again in each copy.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path;) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "the same arguments as the body")]
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            match isa {
                $crate::isa::Isa::Generic => $body($($arg),*),
                // The whole module is compiled for these vectors.
                #[cfg(target_arch = "wasm32")]
                $crate::isa::Isa::Simd128(_) => $body($($arg),*),
                // The whole program is compiled for these vectors, and the other features are of no use here.
                #[cfg(target_arch = "aarch64")]
                $crate::isa::Isa::Neon(_) | $crate::isa::Isa::DotProd(_) | $crate::isa::Isa::I8mm(_) => {
                    $body($($arg),*)
                }
                // SAFETY: the token proves that the CPU has the features that the function enables.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx2(_) => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx512(_) => unsafe { avx512($($arg),*) },
            }
        }
    };
}
pub(crate) use multiversion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_can_only_lower_the_choice() {
        let all = Isa::available();
        let best = *all.last().expect("generic is always available");
        assert_eq!(Isa::best_of(&all, None), best);
        assert_eq!(Isa::best_of(&all, Some("generic")), Isa::Generic);
        assert_eq!(Isa::best_of(&[Isa::Generic], Some("avx512")), Isa::Generic);
        assert_eq!(Isa::best_of(&all, Some("nonsense")), best);
        assert_eq!(Isa::best_of(&all, Some("Generic")), Isa::Generic);
        for isa in all.iter().copied() {
            assert_eq!(Isa::best_of(&all, Some(isa.name())), isa);
        }
    }
}
