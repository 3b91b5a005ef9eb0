//! Upper limits for the sizes that a configuration may name: far above any published model, and small enough that no
//! product of two of them overflows a 64-bit integer.

pub(crate) const WIDTH: usize = 1 << 20;
pub(crate) const LAYERS: usize = 1 << 12;
pub(crate) const HEADS: usize = 1 << 12;
pub(crate) const VOCABULARY: usize = 1 << 24;
pub(crate) const CONTEXT: usize = 1 << 30;
