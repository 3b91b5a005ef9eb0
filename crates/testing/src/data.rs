use std::path::{Path, PathBuf};

/// Returns the folder of larger test data named by `HONELM_TEST_DATA` (with `data/` and `models/`), or `None` if
/// the variable is not set. A test that needs the data then calls [`crate::skip!`].
///
/// # Panics
/// Panics if the variable does not name a folder, so that a typing error does not skip tests.
#[must_use]
pub fn test_data() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("HONELM_TEST_DATA").filter(|v| !v.is_empty())?);
    assert!(path.is_dir(), "HONELM_TEST_DATA={} is not a folder", path.display());
    Some(path)
}

/// Returns the folder of the model that the repository ships.
#[must_use]
pub fn pocket_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/pocket")
}
