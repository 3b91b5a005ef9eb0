//! The folders of the user for this program: caches, whose contents can be removed at any time, and data.

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

/// Returns the folder of this program's data: that of the service that systemd started, or else `honelm` in the user's data folder.
/// `None` if the environment names none.
#[must_use]
pub fn data_folder() -> Option<PathBuf> {
    data_of(&|name| std::env::var_os(name))
}

fn data_of(lookup: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = |below: &str| folder("HOME").map(|home| home.join(below));
    let data = if cfg!(windows) {
        folder("APPDATA")
    } else if cfg!(target_os = "macos") {
        home("Library/Application Support")
    } else {
        // The first of several folders, separated by colons.
        let state = lookup("STATE_DIRECTORY").and_then(|value| std::env::split_paths(&value).next());
        if let Some(state) = state.filter(|folder| folder.is_absolute()) {
            return Some(state);
        }
        folder("XDG_DATA_HOME").filter(|path| path.is_absolute()).or_else(|| home(".local/share"))
    };
    Some(data?.join("honelm"))
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

    #[test]
    fn data_is_in_the_folder_of_the_service_or_of_the_user() {
        let of = |pairs: &[(&str, &str)]| {
            data_of(&|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)))
        };
        assert_eq!(of(&[]), None);
        if cfg!(target_os = "linux") {
            assert_eq!(of(&[("HOME", "/u")]), Some(PathBuf::from("/u/.local/share/honelm")));
            assert_eq!(of(&[("HOME", "/u"), ("XDG_DATA_HOME", "/d")]), Some(PathBuf::from("/d/honelm")));
            assert_eq!(of(&[("HOME", "/u"), ("XDG_DATA_HOME", "d")]), Some(PathBuf::from("/u/.local/share/honelm")));
            assert_eq!(of(&[("STATE_DIRECTORY", "/var/lib/a:/b"), ("HOME", "/u")]), Some(PathBuf::from("/var/lib/a")));
        }
    }
}
