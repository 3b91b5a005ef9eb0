//! A candidate beside what was kept of its original.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use honelm_model::Runner;
use honelm_tensor::Matrix;

use crate::score::{chunk, for_logits, hidden_states};
use crate::scores::per_row;
use crate::{Comparison, EvalError, Scores, Window, rows};

/// What is kept of the original: its likelihoods, and on disk its final hidden states, from which its logits
/// are computed again, so that neither two models nor all logits are ever in memory.
#[derive(Debug)]
pub struct Baseline {
    /// Likelihoods of the original.
    pub scores: Scores,
    width: usize,
    states: File,
}

impl Baseline {
    /// Scores the original and keeps its states in a new file at `path`, which the caller removes.
    pub fn measure(
        runner: &mut dyn Runner,
        windows: &[Window],
        path: &Path,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Self, EvalError> {
        let width = runner.facts().width;
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let mut writer = BufWriter::with_capacity(1 << 20, &file);
        let mut keep = |hidden: &Matrix| {
            for value in &hidden.data {
                writer.write_all(&value.to_le_bytes())?;
            }
            Ok(())
        };
        let scores = crate::score(runner, windows, &mut keep, progress)?;
        writer.flush()?;
        drop(writer);
        Ok(Self { scores, width, states: file })
    }

    /// Takes states that an earlier [`Baseline::measure`] left at `path`; `scores` must be what it returned.
    pub fn open(path: &Path, scores: Scores, width: usize) -> Result<Self, EvalError> {
        let states = File::open(path)?;
        let wanted = scores.nll.iter().map(|w| w.len() as u64).sum::<u64>() * width as u64 * 4;
        let found = states.metadata()?.len();
        if found != wanted {
            let message = format!("{} has {found} bytes, expected {wanted}", path.display());
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message).into());
        }
        Ok(Self { scores, width, states })
    }
}

/// Runs a candidate over `windows` beside the original's states. `base_logits` is the original's output layer
/// `[rows, D] -> [rows, V]`. `proceed` sees the comparison after every window and ends the run early by returning false;
/// the comparison then covers the windows so far.
pub fn compare(
    runner: &mut dyn Runner,
    windows: &[Window],
    baseline: &mut Baseline,
    base_logits: &mut dyn FnMut(&Matrix) -> Result<Matrix, EvalError>,
    proceed: &mut dyn FnMut(&Comparison) -> Result<bool, EvalError>,
) -> Result<Comparison, EvalError> {
    let kept = baseline.scores.nll.len();
    if kept != windows.len() {
        return Err(EvalError::Mismatch { left: kept, right: windows.len() });
    }
    baseline.states.seek(SeekFrom::Start(0))?;
    let mut states = BufReader::with_capacity(1 << 20, &baseline.states);
    let mut result = Comparison::default();
    for (w, window) in windows.iter().enumerate() {
        let base_hidden = read_states(&mut states, window.scored.len(), baseline.width)?;
        let hidden = hidden_states(runner, window)?;
        let mut pairs = Vec::new();
        for_logits(runner, &hidden, &mut |first, logits| {
            let base = base_logits(&chunk(&base_hidden, first))?;
            let target = |i| window.target(first + i);
            pairs.extend(per_row(0..logits.rows, |i| rows::pair(base.row(i), logits.row(i), target(i))));
            Ok(())
        })?;
        result.push(w, window, &pairs)?;
        if !proceed(&result)? {
            break;
        }
    }
    Ok(result)
}

fn read_states(states: &mut impl Read, rows: usize, width: usize) -> Result<Matrix, EvalError> {
    let mut bytes = vec![0; rows * width * 4];
    states.read_exact(&mut bytes)?;
    let data = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Ok(Matrix::new(rows, width, data))
}
