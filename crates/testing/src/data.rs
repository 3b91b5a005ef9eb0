use std::path::{Path, PathBuf};

/// The folder of larger test data that `HONELM_TEST_DATA` names (it holds `data/` and `models/`); `None` where it is not
/// set. A test that needs it then calls [`crate::skip!`].
///
/// # Panics
/// When the variable names no folder: a test should not be skipped by a slip of the pen.
#[must_use]
pub fn test_data() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("HONELM_TEST_DATA").filter(|v| !v.is_empty())?);
    assert!(path.is_dir(), "HONELM_TEST_DATA={} is not a folder", path.display());
    Some(path)
}

/// The model that the repository ships.
#[must_use]
pub fn pocket_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/pocket")
}
