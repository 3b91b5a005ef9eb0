//! Plots that commands write.

use std::io::Write;
use std::path::Path;

use honelm::{FormatError, OutputGate, write_atomic};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::input;

/// Checks that a plot can be written to a path: nothing but an earlier plot is there, and that only with `force`.
pub fn check(path: &Path, force: bool) -> Result<(), Failure> {
    Ok(OutputGate::new(force).file(path, "a plot", &is_plot).map_err(honelm::Error::from)?)
}

/// Writes a plot, and tells its path.
pub fn write(path: &Path, force: bool, text: &str, global: &Global) -> Result<(), Failure> {
    check(path, force)?;
    write_atomic(path, |file| {
        let failed = |source| honelm::Error::from(FormatError::io("write", path.display(), source));
        file.write_all(text.as_bytes()).map_err(failed)
    })?;
    global.note(&format!("Plot: {}", path.display()));
    Ok(())
}

/// Returns `true` for a file that an earlier run could have written.
fn is_plot(path: &Path) -> bool {
    honelm::read_file(path, input::MOST_JSON).is_ok_and(|bytes| bytes.starts_with(b"<svg "))
}
