//! The speed and memory of a model as users run it.

use std::io;
use std::path::Path;

use honelm_bench::Speed;
use honelm_formats::open_file;

use crate::open::open_quietly;
use crate::{Error, Model, RunOptions};

/// Measures the load time, the speed and the peak memory of a model. Reads the files once before, so that they are in
/// the page cache. With [`crate::DeviceChoice::Auto`] the model runs on the CPU.
///
/// The peak memory is that of the whole process, so call this in a process that does nothing else.
///
/// # Errors
/// An invalid model, or a context that is too short for the tests.
pub fn measure(path: &Path, run: &RunOptions) -> Result<Speed, Error> {
    for file in open_quietly(path, run)?.files() {
        let read = io::copy(&mut open_file(file)?, &mut io::sink());
        read.map_err(|source| Error::Io { path: file.clone(), source })?;
    }
    let mut model = Model::open(path, &run.steady(), &mut |_| true)?;
    let load_seconds = model.load_seconds();
    let speed = Speed::measure(model.runner()?, load_seconds)?;
    model.check_unchanged()?;
    Ok(speed)
}
