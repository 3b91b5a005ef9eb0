//! The work on the modules outside of the layers: embedding and output layer.
//!
//! The rows of a table are rounded independently of each other, so a factor that a row counts with, such as the frequency of
//! its token, does not change how the row is rounded. What matters is the metric within a row:
//!
//! - Output layer: the error e of a row changes the logit of its token by x e^T. Over the calibration text the mean square is
//!   e H e^T, H being the mean of x^T x over the states x after the last norm.
//! - Embedding: the error e of a row enters the residual stream wherever the token is read. There all directions count the
//!   same: e e^T.
//! - Tied: a token is predicted about as often as it is read, so that both uses of a row have weights in a ratio that does not
//!   depend on the row. The error is e (H + b mean(diag H) I) e^T with b = [`READ_SHARE`].

use std::ops::Range;

use honelm_backend::Backend;
use honelm_blocks::{BlockError, BlockMatrix, GroupMatrix, WeightData, Zeros};
use honelm_model::{Module, Parameter, Parameters, Slot};
use honelm_tensor::AlignedVec;

use crate::CompressError;
use crate::activations::Streams;
use crate::methods::{Needs, Scales};
use crate::overlay::{Change, Overlay};
use crate::pipeline::Job;
use crate::rounding::round;
use crate::stage::Stage;
use crate::target::Target;

/// The weight of the use as an embedding in the error of a tied matrix, relative to the use as output layer.
const READ_SHARE: f64 = 1.0;
/// The stage of the modules outside of the layers, and the work of rounding the embedding.
const TABLES: &str = "embedding and output";
/// The number of values of the output matrix that are in work together.
const TILE_VALUES: usize = 1 << 25;

impl<'a> Job<'a, '_> {
    /// Returns `true` if the output layer is compressed from inputs that the steps of the recipe observe.
    pub(crate) fn observes_output(&self) -> bool {
        let tree = self.checkpoint.tree();
        let module = tree.output_matrix();
        let slot = Slot { layer: None, module: module.name };
        self.methods.iter().any(|method| method.needs() > Needs::Nothing)
            && self.scheme.importance.is_none()
            && self.scheme.target(tree, slot, module) != Target::Keep
            // OPT-350m projects the states after the last norm to another width.
            && module.shape[1] == self.checkpoint.facts().width
    }

    /// Compresses the output layer by the recipe, or rounds it to nearest where the recipe observes no inputs, and rounds the
    /// embedding.
    pub(crate) fn tables(
        &mut self,
        mut streams: Option<&mut Streams>,
        backend: &mut dyn Backend,
    ) -> Result<Overlay<'a>, CompressError> {
        self.tell(TABLES, TABLES)?;
        let tree = self.checkpoint.tree();
        let observes = self.observes_output();
        let mut overlay = Overlay::new(self.checkpoint, None);
        for module in tree.outer() {
            let slot = Slot { layer: None, module: module.name };
            let target = self.scheme.target(tree, slot, module);
            let parameter = match streams.as_deref_mut() {
                _ if target == Target::Keep => continue,
                Some(streams) if observes && module.name == tree.output_matrix().name => {
                    self.output(module, streams, backend)?
                }
                _ => self.rounded(slot, target, observes)?,
            };
            overlay.set(Change { module: module.name, parameter });
        }
        let unfinished = |problem| CompressError::Unsupported(format!("the recipe rounds too little: {problem}"));
        overlay.check(self.scheme).map_err(unfinished)?;
        Ok(overlay)
    }

    /// Returns a module rounded to its target; with `search`, scales are searched where the encoding leaves the choice.
    fn rounded(&self, slot: Slot, target: Target, search: bool) -> Result<Parameter, CompressError> {
        let Parameter { weight, bias } = self.checkpoint.parameter(slot)?;
        let importance = self.scheme.importance_of(slot);
        let scales = match importance {
            Some(_) => Scales::Weighted,
            None if search => Scales::Search,
            None => Scales::MinMax,
        };
        let mut parts = Vec::new();
        for rows in tiles([weight.rows(), weight.cols()]) {
            let part = rows_of(&weight, rows).and_then(|part| {
                part.check_finite()?;
                round(&part.dequantize(), target, scales, importance, self.threads)
            });
            parts.push(part.map_err(|source| self.weight_error(slot, source))?);
        }
        let weight = stacked(parts).map_err(|source| self.weight_error(slot, source))?;
        Ok(Parameter { weight, bias })
    }

    /// Runs the recipe on the output layer, some rows at a time.
    fn output(
        &mut self,
        module: &Module,
        streams: &mut Streams,
        backend: &mut dyn Backend,
    ) -> Result<Parameter, CompressError> {
        let checkpoint = self.checkpoint;
        let slot = Slot { layer: None, module: module.name };
        let Parameter { weight, bias } = checkpoint.parameter(slot)?;
        let is_tied = checkpoint.tree().output.is_none();
        let unchanged = Overlay::new(checkpoint, None);
        let (mut statistics, mut parts) = (None, Vec::new());
        let (methods, scheme) = (std::mem::take(&mut self.methods), self.scheme);
        for rows in tiles([weight.rows(), weight.cols()]) {
            let part = Module { shape: [rows.len(), module.shape[1]], ..module.clone() };
            let part_bias = bias.as_ref().map(|bias| bias[rows.clone()].to_vec());
            let values = rows_of(&weight, rows).map_err(|source| self.weight_error(slot, source))?;
            let mut overlay = unchanged.clone();
            overlay.set(Change { module: module.name, parameter: Parameter { weight: values, bias: part_bias } });
            for (step, method) in scheme.recipe.steps.iter().zip(&methods) {
                let mut stage = Stage {
                    layer: None,
                    modules: vec![&part],
                    params: &overlay,
                    exact: &unchanged,
                    scheme,
                    streams: Some(&mut *streams),
                    backend: &mut *backend,
                    threads: self.threads,
                    read_share: if is_tied { READ_SHARE } else { 0.0 },
                    statistics,
                    is_rescaled: false,
                    warnings: Vec::new(),
                };
                let changes = self.apply((TABLES, &step.kind), &**method, &mut stage)?;
                let Stage { warnings, statistics: seen, .. } = stage;
                statistics = seen;
                changes.into_iter().for_each(|change| overlay.set(change));
                for warning in warnings {
                    self.warn(TABLES, warning)?;
                }
            }
            parts.push(overlay.parameter(slot)?.weight);
        }
        self.methods = methods;
        let weight = stacked(parts).map_err(|source| self.weight_error(slot, source))?;
        Ok(Parameter { weight, bias })
    }

    fn weight_error(&self, slot: Slot, source: BlockError) -> CompressError {
        CompressError::Weight { name: self.checkpoint.tensor_name(slot).unwrap_or_default(), source }
    }
}

/// Returns ranges of rows of at most [`TILE_VALUES`] values, or of one row.
fn tiles([rows, cols]: [usize; 2]) -> impl Iterator<Item = Range<usize>> {
    let step = (TILE_VALUES / cols.max(1)).max(1);
    (0..rows).step_by(step).map(move |first| first..rows.min(first + step))
}

/// Returns some rows of a matrix.
fn rows_of(weight: &WeightData, rows: Range<usize>) -> Result<WeightData, BlockError> {
    match weight {
        _ if rows.len() == weight.rows() => Ok(weight.clone()),
        WeightData::Blocks(m) => {
            let width = m.row_bytes();
            let bytes = m.bytes.slice(rows.start * width..rows.end * width);
            Ok(BlockMatrix::new(m.encoding, rows.len(), m.cols, bytes)?.into())
        }
        WeightData::Groups(m) => {
            let (cols, groups) = (m.cols, m.groups());
            let part = |values: &[f32]| values[rows.start * groups..rows.end * groups].to_vec();
            let part = GroupMatrix {
                rows: rows.len(),
                codes: AlignedVec::from_slice(&m.codes[rows.start * cols..rows.end * cols]),
                scales: part(&m.scales),
                zeros: match &m.zeros {
                    Zeros::Constant(z) => Zeros::Constant(*z),
                    Zeros::Integer(z) => Zeros::Integer(z[rows.start * groups..rows.end * groups].to_vec()),
                    Zeros::Bias(b) => Zeros::Bias(part(b)),
                },
                order: m.order.clone(),
                ..*m
            };
            Ok(part.validated()?.into())
        }
    }
}

/// Puts matrices of one form under each other.
fn stacked(mut parts: Vec<WeightData>) -> Result<WeightData, BlockError> {
    if parts.len() == 1
        && let Some(only) = parts.pop()
    {
        return Ok(only);
    }
    let rows = parts.iter().map(WeightData::rows).sum();
    match parts.first().cloned() {
        Some(WeightData::Groups(first)) => {
            let (mut codes, mut scales) = (Vec::new(), Vec::new());
            let mut zeros = match &first.zeros {
                Zeros::Integer(_) => Zeros::Integer(Vec::new()),
                Zeros::Bias(_) => Zeros::Bias(Vec::new()),
                constant @ Zeros::Constant(_) => constant.clone(),
            };
            for part in parts {
                let WeightData::Groups(part) = part else { continue };
                codes.extend_from_slice(&part.codes);
                scales.extend(part.scales);
                match (&mut zeros, part.zeros) {
                    (Zeros::Integer(all), Zeros::Integer(part)) => all.extend(part),
                    (Zeros::Bias(all), Zeros::Bias(part)) => all.extend(part),
                    _ => {}
                }
            }
            let codes = AlignedVec::from_slice(&codes);
            Ok(GroupMatrix { rows, codes, scales, zeros, ..first }.validated()?.into())
        }
        first => {
            let mut bytes = Vec::new();
            let (encoding, cols) = match first {
                Some(WeightData::Blocks(m)) => (m.encoding, m.cols),
                _ => (honelm_blocks::Encoding::F32, 0),
            };
            for part in parts {
                if let WeightData::Blocks(part) = part {
                    bytes.extend_from_slice(&part.bytes);
                }
            }
            Ok(BlockMatrix::new(encoding, rows, cols, bytes.into())?.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use honelm_blocks::{Encoding, Fit, IntGroups, ScaleType};
    use honelm_tensor::Matrix;

    use super::*;

    #[test]
    fn tables_in_parts_are_the_whole() {
        let w = Matrix::new(7, 64, (0..448).map(|i| ((i * 37) % 97) as f32 / 40.0 - 1.2).collect());
        let groups = |symmetric| {
            let grid = IntGroups { bits: 4, group_size: 32, symmetric, scale_type: ScaleType::F16, fit: Fit::MinMax };
            crate::rounding::round_to(&w, None, &grid, 1).pack(&grid).expect("finite weights")
        };
        let blocks = BlockMatrix::quantize(&w, Encoding::Q5_0, None).expect("whole blocks").into();
        for whole in [blocks, groups(true), groups(false)] {
            let parts = [0..3, 3..4, 4..7].map(|rows| rows_of(&whole, rows).expect("rows of the matrix"));
            assert_eq!(parts[1].rows(), 1);
            let again = stacked(parts.to_vec()).expect("parts of one form");
            assert_eq!(again.dequantize(), whole.dequantize());
            assert_eq!(again.encoding_name(), whole.encoding_name());
        }
        assert_eq!(tiles([5, TILE_VALUES / 2]).collect::<Vec<_>>(), [0..2, 2..4, 4..5]);
        assert_eq!(tiles([2, 2 * TILE_VALUES]).count(), 2);
        assert_eq!(tiles([0, 4]).count() + tiles([0, 0]).count(), 0);
    }
}
