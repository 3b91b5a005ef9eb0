//! Sampling and generation over one erased model boundary.
