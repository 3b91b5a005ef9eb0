//! The home of caches: a folder of the user, whose contents can be removed at any time.

use std::ffi::OsString;
use std::path::PathBuf;

/// Returns the folder of this program's caches, `honelm` in the user's cache folder; `None` if the environment names none.
pub(crate) fn folder() -> Option<PathBuf> {
    cache_of(&|name| std::env::var_os(name)).map(|folder| folder.join("honelm"))
}

/// Returns the user's cache folder according to the environment variables.
fn cache_of(lookup: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if cfg!(windows) {
        return folder("LOCALAPPDATA");
    }
    let below = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(below)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_in_the_users_cache_folder() {
        let of = |pairs: &[(&str, &str)]| {
            cache_of(&|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)))
        };
        assert_eq!(of(&[]), None);
        if cfg!(target_os = "linux") {
            assert_eq!(of(&[("HOME", "/u")]), Some(PathBuf::from("/u/.cache")));
            assert_eq!(of(&[("HOME", "/u"), ("XDG_CACHE_HOME", "/c")]), Some(PathBuf::from("/c")));
            assert_eq!(of(&[("HOME", "/u"), ("XDG_CACHE_HOME", "")]), Some(PathBuf::from("/u/.cache")));
        }
    }
}
