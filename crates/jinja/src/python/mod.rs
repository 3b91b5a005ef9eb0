//! Python's operations on values.

pub(crate) mod arguments;
pub(crate) mod attributes;
pub(crate) mod bytes;
pub(crate) mod compare;
pub(crate) mod fields;
pub(crate) mod format;
pub(crate) mod methods;
pub(crate) mod operators;
pub(crate) mod sequences;
pub(crate) mod sorting;
pub(crate) mod strings;
pub(crate) mod text;
