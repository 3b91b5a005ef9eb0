//! Measurements that print each row as it is ready.

use honelm::{Error, Events};
use serde::Serialize;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// Runs a measurement with a progress display. With `--json`, prints a document for each row, and ends the measurement if that
/// fails.
pub fn measured<T: Serialize>(
    global: &Global,
    measure: impl FnOnce(Events<'_>, &mut dyn FnMut(&T) -> bool) -> Result<Vec<T>, Error>,
) -> Result<Vec<T>, Failure> {
    shown(global, |row| if global.json { output::json_line(row) } else { Ok(()) }, measure)
}

/// Runs a measurement with a progress display. `show` gets each row as it is ready, and ends the measurement if it fails.
pub fn shown<T>(
    global: &Global,
    mut show: impl FnMut(&T) -> Result<(), Failure>,
    measure: impl FnOnce(Events<'_>, &mut dyn FnMut(&T) -> bool) -> Result<Vec<T>, Error>,
) -> Result<Vec<T>, Failure> {
    let mut progress = Progress::new(global);
    let mut failure = None;
    let rows = measure(&mut |event| progress.event(event), &mut |row| {
        failure = show(row).err();
        failure.is_none()
    });
    progress.finish();
    match failure {
        Some(failure) => Err(failure),
        None => Ok(rows?),
    }
}
