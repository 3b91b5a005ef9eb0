//! The importance of a weight's columns: the mean square of their inputs.

use std::collections::{BTreeMap, HashMap};

use honelm_backend::Backend;
use honelm_formats::imatrix::{Imatrix, InputSquares};
use honelm_model::{Checkpoint, OutputLayer, Slot, Tree};
use honelm_store::Digest;
use honelm_tensor::Matrix;

use crate::activations::Activations;
use crate::pipeline::{INPUTS, Progress, Report};
use crate::stage::names;
use crate::{Calibration, CompressError};

/// The smallest importance of a column, as a share of the mean of its weight. A column whose inputs were 0 on the
/// calibration text is rounded with little weight, but not arbitrarily.
const SMALLEST: f32 = 1e-6;

/// The importance of the columns of a model's matrices, from an importance matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Importance {
    columns: HashMap<Slot, Vec<f32>>,
    digest: String,
}

impl Importance {
    /// Takes the importances of a model's matrices from an importance matrix. Errors call it `file`.
    ///
    /// # Errors
    /// [`CompressError::Imatrix`] for a linear module of a layer without an entry, and for an entry with another number
    /// of columns than its matrix. The embedding and the output layer need no entry, as in llama.cpp.
    pub fn new(tree: &Tree, imatrix: &Imatrix, file: &str) -> Result<Self, CompressError> {
        let mut columns = HashMap::new();
        let mut digest = Digest::default();
        for slot in tree.slots() {
            let Some(module) = tree.module(slot) else { continue };
            let tensor = weight_name(tree, slot);
            let bad = |problem| CompressError::Imatrix { file: file.to_owned(), tensor: tensor.clone(), problem };
            let Some(entry) = imatrix.entries.get(&tensor) else {
                if slot.layer.is_some() && module.is_linear() {
                    return Err(bad("has no entry".to_owned()));
                }
                continue;
            };
            let (found, expected) = (entry.sums.len(), module.shape[1]);
            if found != expected {
                return Err(bad(format!("found {found} columns, expected {expected}")));
            }
            let mut means = entry.means();
            let smallest = means.iter().sum::<f32>() / found as f32 * SMALLEST;
            // A weight whose inputs are all 0 has no important columns.
            means.iter_mut().for_each(|mean| *mean = if smallest > 0.0 { mean.max(smallest) } else { 1.0 });
            digest = digest.with(&tensor).with(means.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
            columns.insert(slot, means);
        }
        Ok(Self { columns, digest: digest.hex() })
    }

    /// Returns the importance of the columns of a matrix. // `[K]`
    pub(crate) fn of(&self, slot: Slot) -> Option<&[f32]> {
        self.columns.get(&slot).map(Vec::as_slice)
    }

    /// Returns the digest of all importances.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }
}

/// Sums the squared inputs of every linear module of the layers and of the output layer, by the names of their weights in
/// GGUF, with one layer in memory at a time. `backend` computes in f32.
///
/// # Errors
/// [`CompressError::Inputs`] for an input that is not finite, errors of the model and the back end.
pub fn input_squares(
    checkpoint: &Checkpoint,
    calibration: &Calibration,
    backend: &mut dyn Backend,
    report: Report<'_>,
) -> Result<BTreeMap<String, InputSquares>, CompressError> {
    let tree = checkpoint.tree();
    let total = tree.layers.len() + 1;
    let mut tell = |done: usize, stage: String| {
        let progress = Progress { done, total, stage, work: INPUTS.to_owned(), warning: None };
        if report(&progress) { Ok(()) } else { Err(CompressError::Interrupted) }
    };
    let entry = |sums: &[f64]| InputSquares {
        sums: sums.iter().map(|&sum| sum as f32).collect(),
        counts: vec![calibration.tokens() as f32],
    };
    let mut entries = BTreeMap::new();
    tell(0, "embedding".to_owned())?;
    let mut activations = Activations::new(checkpoint, calibration, backend)?;
    for i in 0..tree.layers.len() {
        tell(i, format!("layer {} of {}", i + 1, total - 1))?;
        let stages = tree.stages(i);
        let firsts: Vec<_> = stages.iter().filter_map(|modules| modules.first()).collect();
        let watched: Vec<&'static str> = firsts.iter().map(|module| module.name).collect();
        let mut sums: Vec<Vec<f64>> = firsts.iter().map(|module| vec![0.0; module.shape[1]]).collect();
        activations.advance_observed(checkpoint, i, &watched, backend, &mut |stage, inputs| {
            let bad = |column| CompressError::Inputs { layer: i, modules: names(&stages[stage]), column };
            add_squares(&mut sums[stage], inputs).map_err(bad)
        })?;
        for (modules, sums) in stages.iter().zip(&sums) {
            for module in modules {
                entries.insert(weight_name(tree, Slot { layer: Some(i), module: module.name }), entry(sums));
            }
        }
    }
    tell(total - 1, "output layer".to_owned())?;
    let output = OutputLayer::load_norm(checkpoint.blueprint(), checkpoint, backend)?;
    let module = tree.output_matrix();
    let mut sums = vec![0.0; module.shape[1]];
    for x in &activations.steps {
        let inputs = output.finish(x, backend)?;
        let bad = |column| CompressError::Inputs { layer: total - 1, modules: module.name.to_owned(), column };
        add_squares(&mut sums, &inputs).map_err(bad)?;
    }
    entries.insert(weight_name(tree, Slot { layer: None, module: module.name }), entry(&sums));
    tell(total, "finished".to_owned())?;
    Ok(entries)
}

/// Adds the squares of inputs X `[n, K]` to the sums of their columns. Returns the column of a value that is not finite
/// as an error.
fn add_squares(sums: &mut [f64], inputs: &Matrix) -> Result<(), usize> {
    for row in inputs.iter_rows() {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
    }
    match inputs.data.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(i % inputs.cols.max(1)),
        None => Ok(()),
    }
}

fn weight_name(tree: &Tree, slot: Slot) -> String {
    format!("{}.weight", tree.gguf_name(slot).unwrap_or_default())
}
