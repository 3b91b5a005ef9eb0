use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use honelm_backend::uniform;
use honelm_tensor::Matrix;

/// Returns a standard normal value that depends only on the arguments (Box-Muller on counter-based draws).
#[must_use]
pub fn gaussian(seed: u64, index: u64) -> f32 {
    let (u, v) = (uniform(seed, 0, index, 0), uniform(seed, 0, index, 1));
    let radius = (-2.0 * f64::from(1.0 - u).ln()).sqrt();
    (radius * (std::f64::consts::TAU * f64::from(v)).cos()) as f32
}

/// Returns a matrix of [`gaussian`] values.
#[must_use]
pub fn matrix(rows: usize, cols: usize, seed: u64) -> Matrix {
    static STREAMS: Mutex<BTreeMap<u64, Vec<f32>>> = Mutex::new(BTreeMap::new());
    let mut streams = STREAMS.lock().unwrap_or_else(PoisonError::into_inner);
    // Values are drawn once, because the tables use the same values for every encoding and back end.
    let stream = streams.entry(seed).or_default();
    stream.extend((stream.len()..rows * cols).map(|i| gaussian(seed, i as u64)));
    Matrix::new(rows, cols, stream[..rows * cols].to_vec())
}
