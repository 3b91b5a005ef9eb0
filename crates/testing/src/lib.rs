//! Tiny models, tolerances and test data.
