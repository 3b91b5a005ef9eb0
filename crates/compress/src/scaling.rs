//! Scales of input channels, folded into the parameters before and after them.

use honelm_blocks::{BlockError, BlockMatrix, Encoding, WeightData};
use honelm_model::{Channels, Kind, Parameter};
use honelm_tensor::Matrix;

use crate::{Change, CompressError, Stage};

/// The result of [`fold`].
pub(crate) struct Folded {
    /// The changed parameters.
    pub changes: Vec<Change>,
    /// The scales that were used. The inputs of the stage are divided by them. // `[K]`
    pub scales: Vec<f32>,
}

/// Multiplies the columns of the stage's matrices by `scales` `[K]`, and divides the outputs of the module before the stage
/// by them. The layer computes the same.
///
/// A norm keeps its number type. The scales are adjusted for the rounding of its gain, so that the product of gain and column
/// is exact to f32. A channel whose gain is 0 or leaves the range of its type is not scaled.
pub(crate) fn fold(stage: &Stage<'_>, channels: Channels, scales: &[f32]) -> Result<Folded, CompressError> {
    let mut scales = scales.to_vec();
    let Parameter { weight, mut bias } = stage.parameter(channels.module)?;
    let mut values = weight.dequantize();
    let is_norm = stage.module(channels.module).is_some_and(|m| m.kind == Kind::Norm);
    let weight = if is_norm {
        let encoding = match &weight {
            WeightData::Blocks(m) if m.encoding.is_float() => m.encoding,
            _ => Encoding::F32,
        };
        let rounded = |gain: f32| {
            let stored = BlockMatrix::quantize(&Matrix::new(1, 1, vec![gain]), encoding, None).ok()?;
            WeightData::from(stored).dequantize().data.first().copied().filter(|gain| gain.is_normal())
        };
        for (scale, gain) in scales.iter_mut().zip(&mut values.data) {
            let divided = rounded(*gain / *scale);
            *scale = divided.map_or(1.0, |divided| *gain / divided);
            *gain = divided.unwrap_or(*gain);
        }
        encoded(&values, encoding).map_err(|source| stage.weight_error(channels.module, source))?
    } else {
        for (row, scale) in rows(channels, &scales) {
            values.row_mut(row).iter_mut().for_each(|x| *x /= scale);
        }
        encoded(&values, Encoding::F32).map_err(|source| stage.weight_error(channels.module, source))?
    };
    for (row, scale) in rows(channels, &scales) {
        if let Some(value) = bias.as_mut().and_then(|bias| bias.get_mut(row)) {
            *value /= scale;
        }
    }
    let mut changes = vec![Change { module: channels.module, parameter: Parameter { weight, bias } }];
    for module in stage.modules() {
        let Parameter { weight, bias } = stage.parameter(module.name)?;
        let mut values = weight.dequantize();
        for r in 0..values.rows {
            values.row_mut(r).iter_mut().zip(&scales).for_each(|(x, scale)| *x *= scale);
        }
        let weight = encoded(&values, Encoding::F32).map_err(|source| stage.weight_error(module.name, source))?;
        let parameter = Parameter { weight, bias };
        changes.push(Change { module: module.name, parameter });
    }
    Ok(Folded { changes, scales })
}

/// Returns the rows that the inputs come from, each once, with their scales. Inputs that share a row have the same scale.
fn rows(channels: Channels, scales: &[f32]) -> Vec<(usize, f32)> {
    let mut rows: Vec<(usize, f32)> = scales.iter().enumerate().map(|(i, &s)| (channels.row(i), s)).collect();
    rows.sort_by_key(|&(row, _)| row);
    rows.dedup_by_key(|&mut (row, _)| row);
    rows
}

/// Encodes values as floats.
pub(crate) fn encoded(values: &Matrix, encoding: Encoding) -> Result<WeightData, BlockError> {
    Ok(BlockMatrix::quantize(values, encoding, None)?.into())
}
