//! The place of the built page.

use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Finds the folder of the built page: `wanted`, or else `web` beside the executable, or `web/dist` in a source checkout.
pub fn find(wanted: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("web")));
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/dist");
    let candidates = match wanted {
        Some(folder) => vec![folder.to_owned()],
        None => beside.into_iter().chain([checkout]).collect(),
    };
    let found = candidates.iter().find(|folder| folder.join("index.html").is_file());
    found.cloned().ok_or_else(|| {
        let searched: Vec<String> = candidates.iter().map(|folder| folder.display().to_string()).collect();
        let problem = "no index.html; in a source checkout, `cargo xtask web` builds the page";
        Failure::Io(searched.join(", "), IoError::new(ErrorKind::NotFound, problem))
    })
}
