//! The tensors of a GPTQ module.

use honelm_blocks::{GroupMatrix, ScaleType};
use honelm_tensor::AlignedVec;

use super::{CheckpointFormat, FORMAT, ModuleSettings, QuantizeConfig};
use crate::quantized::ModuleShape;
use crate::quantized::tensors::{
    I32, checked, column_groups, float_tensor, floats, info, integer_zeros, refused, scale_element, word_tensor, words,
    zeros_of,
};
use crate::quantized::words::{Packing, transposed};
use crate::{FormatError, RawTensor, TensorInfo, TensorSource};

/// Returns the settings of a module that is packed.
fn settings(config: &QuantizeConfig, module: &str) -> Result<ModuleSettings, FormatError> {
    config.of(module)?.ok_or_else(|| refused(module, FORMAT, "the settings exclude the module"))
}

/// Returns the four tensors of a linear module, without data, in the order in which [`encode`] gives them.
///
/// # Errors
/// [`FormatError::NotRepresentable`] if the settings exclude the module, or its rows or columns do not fill planes.
pub(super) fn tensor_infos(
    module: &ModuleShape<'_>,
    config: &QuantizeConfig,
    scale_type: ScaleType,
) -> Result<[TensorInfo; 4], FormatError> {
    let (rows, cols) = (module.rows, module.cols);
    let ModuleSettings { bits, group_size, .. } = settings(config, module.name)?;
    let packing = config.checkpoint_format.packing(bits);
    for (what, found) in [("input columns", cols), ("output rows", rows)] {
        if packing == Packing::Planes && !found.is_multiple_of(32) {
            let reason = format!("it has {found} {what}; {bits}-bit planes need a multiple of 32");
            return Err(refused(module.name, FORMAT, reason));
        }
    }
    let groups = group_size.map_or(1, |size| cols.div_ceil(size));
    let info = |suffix, element, shape| info(FORMAT, element, module.tensor(suffix), shape);
    Ok([
        info("qweight", I32, vec![packing.words(bits, cols), rows])?,
        info("qzeros", I32, vec![groups, packing.words(bits, rows)])?,
        info("scales", scale_element(scale_type), vec![groups, rows])?,
        info("g_idx", I32, vec![cols])?,
    ])
}

/// Reads the linear module `prefix` of shape `[rows = out, cols = in]` without loss. The caller has checked that its
/// tensors exist and have the right shapes. A missing `g_idx` means groups of neighbouring columns.
///
/// # Errors
/// [`FormatError::UnexpectedElement`], [`FormatError::GroupIndexOutOfRange`], and the errors of [`tensor_infos`].
pub(super) fn decode(
    source: &dyn TensorSource,
    prefix: &str,
    (rows, cols): (usize, usize),
    config: &QuantizeConfig,
) -> Result<GroupMatrix, FormatError> {
    let name = |suffix: &str| format!("{prefix}.{suffix}");
    let ModuleSettings { bits, group_size, .. } = settings(config, prefix)?;
    let packing = config.checkpoint_format.packing(bits);
    let group_size = group_size.unwrap_or(cols);
    let (scale_type, scales) = floats(source, &name("scales"))?;
    let mut codes = AlignedVec::zeroed(rows * cols);
    packing.unpack_columns(bits, &words(source, &name("qweight"))?, rows, cols, &mut codes);
    let groups = cols.div_ceil(group_size);
    let stored = StoredZeros::read(source, prefix, rows, groups, config)?;
    let (less_one, _) = stored.format();
    let zeros = stored.values(less_one);
    Ok(GroupMatrix {
        rows,
        cols,
        bits,
        group_size,
        scale_type,
        codes,
        scales: transposed(&scales, rows),
        zeros: zeros_of(transposed(&zeros, rows)),
        order: column_groups(source, &name("g_idx"), group_size, groups)?,
    })
}

/// Returns a sentence for every setting that the tensors of the module `prefix` contradict.
///
/// # Errors
/// The errors of [`decode`].
pub(super) fn contradictions(
    source: &dyn TensorSource,
    prefix: &str,
    (rows, cols): (usize, usize),
    config: &QuantizeConfig,
) -> Result<Vec<String>, FormatError> {
    let ModuleSettings { group_size, .. } = settings(config, prefix)?;
    let group_size = group_size.unwrap_or(cols);
    let groups = cols.div_ceil(group_size);
    let stored = StoredZeros::read(source, prefix, rows, groups, config)?;
    let mut found: Vec<String> = stored.format().1.into_iter().collect();
    let order = column_groups(source, &format!("{prefix}.g_idx"), group_size, groups)?;
    if order.is_some() && !config.desc_act {
        found.push("desc_act is false, but the groups of g_idx are not neighbouring columns: g_idx counts".to_owned());
    }
    Ok(found)
}

/// The zero points of a module as they are stored.
struct StoredZeros {
    bits: u8,
    rows: usize,
    packing: Packing,
    format: CheckpointFormat,
    /// `true` if the settings claim that every zero point is the middle code.
    sym: bool,
    words: Vec<u32>,
    /// The unpacked words. // [groups, rows]
    codes: Vec<u8>,
}

impl StoredZeros {
    fn read(
        source: &dyn TensorSource,
        prefix: &str,
        rows: usize,
        groups: usize,
        config: &QuantizeConfig,
    ) -> Result<Self, FormatError> {
        let ModuleSettings { bits, sym, .. } = settings(config, prefix)?;
        let format = config.checkpoint_format;
        let packing = format.packing(bits);
        let words = words(source, &format!("{prefix}.qzeros"))?;
        let mut codes = vec![0; groups * rows];
        packing.unpack_rows(bits, &words, rows, &mut codes);
        Ok(Self { bits, rows, packing, format, sym, words, codes })
    }

    /// Returns `true` if the zero points are stored less 1, as in v1, and a sentence if the settings say otherwise.
    fn format(&self) -> (bool, Option<String>) {
        let v1 = self.format == CheckpointFormat::V1;
        let middle = middle(self.bits);
        let all = |zero: u8| self.codes.iter().all(|&code| code == zero);
        let label = format!("sym is true and checkpoint_format {}", self.format.name());
        if !self.sym || all(middle - u8::from(v1)) {
            return (v1, None);
        }
        // For a symmetric module, only the other format stores these values.
        let (stored, other) = if v1 { (middle, CheckpointFormat::V2) } else { (middle - 1, CheckpointFormat::V1) };
        if all(stored) {
            let found = format!("all stored zero points are {stored}: they are read as {}", other.name());
            return (!v1, Some(format!("{label}, but {found}")));
        }
        (v1, Some(format!("{label}, but the zero points are not all {middle}: the stored values count")))
    }

    /// Returns the zero points; `less_one` says that the stored values are less by 1. // [groups, rows]
    fn values(mut self, less_one: bool) -> Vec<u8> {
        match ones(self.bits) {
            _ if !less_one => {}
            Some(ones) => {
                self.words.iter_mut().for_each(|word| *word = word.wrapping_add(ones));
                self.packing.unpack_rows(self.bits, &self.words, self.rows, &mut self.codes);
            }
            None => self.codes.iter_mut().for_each(|z| *z = (*z + 1) & highest(self.bits)),
        }
        self.codes
    }
}

/// Packs a matrix into the four tensors of a module: `qweight`, `qzeros`, `scales`, `g_idx`.
///
/// # Errors
/// [`FormatError::NotRepresentable`] for the reasons of [`checked`] and [`tensor_infos`], for zero points that are not
/// integers of the codes' bits (or are 0, in v1), and for a zero point other than the middle code if `sym` is set.
pub(super) fn encode(
    module: &ModuleShape<'_>,
    matrix: &GroupMatrix,
    config: &QuantizeConfig,
) -> Result<Vec<RawTensor>, FormatError> {
    let (rows, cols) = (module.rows, module.cols);
    let ModuleSettings { bits, group_size, sym } = settings(config, module.name)?;
    let matrix = checked(matrix, module, FORMAT, (bits, group_size.unwrap_or(cols)))?;
    let packing = config.checkpoint_format.packing(bits);
    let [qweight, qzeros, scales, g_idx] = tensor_infos(module, config, matrix.scale_type)?;
    let zeros = zeros(&matrix, config.checkpoint_format, sym).map_err(|reason| refused(module.name, FORMAT, reason))?;
    let mut stored = packing.pack_rows(bits, &zeros, rows);
    if config.checkpoint_format == CheckpointFormat::V1
        && let Some(ones) = ones(bits)
    {
        stored.iter_mut().for_each(|word| *word = word.wrapping_sub(ones));
    }
    let order: Vec<u32> = match &matrix.order {
        Some(order) => order.clone(),
        None => (0..cols).map(|i| (i / matrix.group_size) as u32).collect(),
    };
    Ok(vec![
        word_tensor(qweight, &packing.pack_columns(bits, &matrix.codes, cols)),
        word_tensor(qzeros, &stored),
        float_tensor(scales, &transposed(&matrix.scales, matrix.groups()), matrix.scale_type),
        word_tensor(g_idx, &order),
    ])
}

/// Returns the zero point of symmetric modules.
fn middle(bits: u8) -> u8 {
    highest(bits) / 2 + 1
}

/// Returns the largest code.
fn highest(bits: u8) -> u8 {
    u8::MAX >> (8 - bits)
}

/// Returns the word that v1 subtracts from every word of zero points: a 1 in every code. A zero point of 0 therefore
/// borrows from its neighbours, and only an addition to the whole word undoes that. Returns `None` for widths whose codes
/// cross words: there 1 is subtracted from every code on its own, modulo 2^bits.
fn ones(bits: u8) -> Option<u32> {
    matches!(bits, 2 | 4 | 8).then(|| (0..32).step_by(bits.into()).fold(0, |word, shift| word | 1 << shift))
}

/// Returns the zero points to pack, before v1's subtraction from whole words. // [groups, rows]
fn zeros(matrix: &GroupMatrix, format: CheckpointFormat, sym: bool) -> Result<Vec<u8>, String> {
    let zeros = integer_zeros(matrix)?;
    let v1 = format == CheckpointFormat::V1;
    if v1 && zeros.contains(&0) {
        return Err("checkpoint_format gptq cannot hold the zero point 0; gptq_v2 can".to_owned());
    }
    let middle = middle(matrix.bits);
    if sym && zeros.iter().any(|&z| z != middle) {
        return Err(format!("sym is set, but a zero point is not {middle}"));
    }
    let mut zeros = transposed(&zeros, matrix.groups());
    if v1 && ones(matrix.bits).is_none() {
        zeros.iter_mut().for_each(|z| *z -= 1);
    }
    Ok(zeros)
}
