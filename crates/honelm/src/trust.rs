//! The known-answer test of a GPU, remembered for each adapter and driver in the user's cache folder.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use honelm_backend::block_on;
use honelm_formats::{FormatError, write_atomic};
use honelm_gpu::{Gpu, GpuError, Needed, Trust, known_answers};

use crate::{Error, Event, Events};

/// Makes sure that the kernels that are `needed` are right on the device, and that it uses those variants that are. What was found
/// before is not tested again; `events` is told how far a test is.
///
/// # Errors
/// [`Error::Gpu`]: the device is not to be trusted. [`Error::Interrupted`] where `events` says so.
pub fn trusted(gpu: &Gpu, needed: &Needed, events: Events<'_>) -> Result<Trust, Error> {
    let mut goes_on = true;
    let trust = trusted_in(cache_file().as_deref(), gpu, needed, &mut |done, total| {
        goes_on &= events(&Event::Stage { name: "testing the GPU's kernels", detail: "", done, total });
    })?;
    if goes_on { Ok(trust) } else { Err(Error::Interrupted) }
}

/// As [`trusted`], remembered in `file`.
fn trusted_in(
    file: Option<&Path>,
    gpu: &Gpu,
    needed: &Needed,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Trust, GpuError> {
    let key = gpu.report().key();
    let known = file.map(read).unwrap_or_default();
    let remembered = known.get(&key).cloned();
    let trust = block_on(known_answers(gpu, needed, remembered.clone(), progress))?;
    if let Some(file) = file
        && remembered.as_ref() != Some(&trust)
    {
        write(file, &key, &trust);
    }
    Ok(trust)
}

/// All that is remembered; nothing where the file is missing, or of another version.
fn read(file: &Path) -> BTreeMap<String, Trust> {
    fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Adds to what is remembered. It costs the next start a second when that fails, and nobody anything else.
fn write(file: &Path, key: &str, trust: &Trust) {
    let mut known = read(file);
    known.insert(key.to_owned(), trust.clone());
    let Ok(bytes) = serde_json::to_vec_pretty(&known) else { return };
    if let Some(folder) = file.parent() {
        drop(fs::create_dir_all(folder));
    }
    let written =
        write_atomic(file, |out| out.write_all(&bytes).map_err(|e| FormatError::io("write", file.display(), e)));
    drop(written);
}

/// Where it is remembered: `honelm/gpu.json` in the user's folder of caches.
fn cache_file() -> Option<PathBuf> {
    cache_of(&|name| std::env::var_os(name))
}

fn cache_of(lookup: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else {
        let home = || {
            folder("HOME").map(|home| home.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" }))
        };
        folder("XDG_CACHE_HOME").or_else(home)
    };
    caches.map(|caches| caches.join("honelm").join("gpu.json"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use honelm_gpu::pack::Layout;

    use super::*;

    #[test]
    fn what_a_test_found_is_kept_for_the_adapter_and_its_driver() {
        let Ok(gpu) = block_on(Gpu::open(None)) else {
            eprintln!("SKIPPED what_a_test_found_is_kept_for_the_adapter_and_its_driver: needs a GPU adapter");
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new").join("gpu.json");
        let needed = Needed { layouts: vec![Layout::F32], caches: Vec::new() };
        let mut told = Vec::new();
        let first = trusted_in(Some(&file), &gpu, &needed, &mut |done, total| told.push((done, total))).unwrap();
        let total = told.len() - 1;
        assert!(total > 4 && told == (0..=total).map(|done| (done, total)).collect::<Vec<_>>(), "{told:?}");
        assert_eq!(read(&file), BTreeMap::from([(gpu.report().key(), first.clone())]));
        let built = gpu.pipelines();
        let mut silent = |_, _| panic!("it is remembered");
        assert_eq!(trusted_in(Some(&file), &gpu, &needed, &mut silent).unwrap(), first);
        assert_eq!(gpu.pipelines(), built, "tested again");
        // A file that is damaged costs a test, no more.
        fs::write(&file, "{").unwrap();
        assert_eq!(trusted_in(Some(&file), &gpu, &needed, &mut |_, _| {}).unwrap(), first);
        assert_eq!(read(&file).len(), 1);
    }

    #[test]
    fn the_file_is_where_users_keep_their_caches() {
        let of = |pairs: &[(&str, &str)]| {
            cache_of(&|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)))
        };
        assert_eq!(of(&[]), None);
        if cfg!(target_os = "linux") {
            assert_eq!(of(&[("HOME", "/u")]), Some(PathBuf::from("/u/.cache/honelm/gpu.json")));
            let both = of(&[("HOME", "/u"), ("XDG_CACHE_HOME", "/c")]);
            assert_eq!(both, Some(PathBuf::from("/c/honelm/gpu.json")));
        }
    }
}
