//! Safe calls of intrinsics.

/// A token that proves instructions of the CPU.
pub(crate) trait Token: Copy {}

/// A type that a register holds; pointers are excluded.
pub(crate) trait Register: Copy {}
macro_rules! registers {
    ($($t:ty)*) => { $(impl $crate::intrinsics::Register for $t {})* };
}
pub(crate) use registers;

/// Returns its argument, and checks that a register holds it.
#[inline(always)]
pub(crate) fn register<T: Register>(value: T) -> T {
    value
}

/// Takes a token as a proof that the CPU has its instructions.
#[inline(always)]
pub(crate) fn proof(_: impl Token) {}

/// Calls an intrinsic on registers: `proved!(token, intrinsic, arguments...)`.
///
/// Such an intrinsic has one condition, that the CPU has the instruction: `token` must be that of the intrinsic's
/// instruction set. Intrinsics that access memory do not compile here, because they take pointers.
macro_rules! proved {
    (@ $token:expr, $f:path, $($name:ident = $value:expr),*) => {{
        $crate::intrinsics::proof($token);
        $(let $name = $crate::intrinsics::register($value);)*
        // SAFETY: the token exists only where detection found the instruction, and no argument is a pointer.
        unsafe { $f($($name),*) }
    }};
    ($token:expr, $f:path) => { proved!(@ $token, $f,) };
    ($token:expr, $f:path, $a:expr) => { proved!(@ $token, $f, a = $a) };
    ($token:expr, $f:path, $a:expr, $b:expr) => { proved!(@ $token, $f, a = $a, b = $b) };
    ($token:expr, $f:path, $a:expr, $b:expr, $c:expr) => { proved!(@ $token, $f, a = $a, b = $b, c = $c) };
    ($token:expr, $f:path, $a:expr, $b:expr, $c:expr, $d:expr) => {
        proved!(@ $token, $f, a = $a, b = $b, c = $c, d = $d)
    };
}
pub(crate) use proved;
