use half::{bf16, f16};
use honelm_blocks::{Encoding, GroupMatrix, ScaleType, Zeros};
use honelm_tensor::AlignedVec;

use super::{CheckpointFormat, FORMAT, ModuleSettings, QuantizeConfig};
use crate::quantized::tensors::{column_groups, floats, word_tensor, words, zeros_of};
use crate::quantized::words::{Packing, transposed};
use crate::{ElementType, FormatError, IntegerType, RawTensor, TensorInfo, TensorSource};

const I32: ElementType = ElementType::Integer(IntegerType::I32);

fn refused(module: &str, reason: String) -> FormatError {
    FormatError::NotRepresentable { tensor: module.to_owned(), format: FORMAT, reason }
}

/// The settings of a module that is packed.
fn settings(config: &QuantizeConfig, module: &str) -> Result<ModuleSettings, FormatError> {
    config.of(module)?.ok_or_else(|| refused(module, "the settings leave it out".to_owned()))
}

/// The four tensors of the linear layer `prefix` of shape `[rows = out, cols = in]`, without data, in the order
/// in which [`encode`] gives them.
///
/// # Errors
/// [`FormatError::NotRepresentable`] where the settings leave it out, or planes are not filled.
pub fn tensor_infos(
    prefix: &str,
    (rows, cols): (usize, usize),
    config: &QuantizeConfig,
    scale_type: ScaleType,
) -> Result<[TensorInfo; 4], FormatError> {
    let ModuleSettings { bits, group_size, .. } = settings(config, prefix)?;
    let packing = config.checkpoint_format.packing(bits);
    for (what, found) in [("input columns", cols), ("output rows", rows)] {
        if packing == Packing::Planes && !found.is_multiple_of(32) {
            return Err(refused(prefix, format!("{found} {what}; {bits} bits in planes need a multiple of 32")));
        }
    }
    let groups = group_size.map_or(1, |size| cols.div_ceil(size));
    let scales = match scale_type {
        ScaleType::F16 => Encoding::F16,
        ScaleType::BF16 => Encoding::BF16,
        ScaleType::F32 => Encoding::F32,
    };
    let info = |suffix: &str, element: ElementType, shape: &[usize]| {
        let (name, shape) = (format!("{prefix}.{suffix}"), shape.to_vec());
        match element.size_of(&shape) {
            Some(size) => Ok(TensorInfo { name, element, shape, size }),
            None => Err(refused(&name, format!("the size of shape {shape:?} does not fit in 64 bits"))),
        }
    };
    Ok([
        info("qweight", I32, &[packing.words(bits, cols), rows])?,
        info("qzeros", I32, &[groups, packing.words(bits, rows)])?,
        info("scales", ElementType::Weights(scales), &[groups, rows])?,
        info("g_idx", I32, &[cols])?,
    ])
}

/// Reads the linear layer `prefix` of shape `[rows = out, cols = in]`, without loss, whose tensors are known to
/// be there in the right shapes. A missing `g_idx` stands for groups of neighbouring columns.
///
/// # Errors
/// [`FormatError::UnexpectedElement`], [`FormatError::GroupIndexOutOfRange`], and as [`tensor_infos`].
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

/// What the tensors of the layer `prefix` say other than the settings do.
///
/// # Errors
/// As [`decode`].
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
        found.push(
            "desc_act is false, but g_idx does not put neighbouring columns into groups: g_idx counts".to_owned(),
        );
    }
    Ok(found)
}

/// The zero points of a layer as they are stored.
struct StoredZeros {
    bits: u8,
    rows: usize,
    packing: Packing,
    format: CheckpointFormat,
    /// Whether the settings claim that every zero point is the middle code.
    sym: bool,
    words: Vec<u32>,
    /// What is in the words. // [groups, rows]
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

    /// Whether the zero points are stored less 1, as v1 has them, and what the settings say otherwise.
    fn format(&self) -> (bool, Option<String>) {
        let v1 = self.format == CheckpointFormat::V1;
        let middle = middle(self.bits);
        let all = |zero: u8| self.codes.iter().all(|&code| code == zero);
        let label = format!("sym is true and checkpoint_format {}", self.format.name());
        if !self.sym || all(middle - u8::from(v1)) {
            return (v1, None);
        }
        // Of a symmetric layer only the other format stores these.
        let (stored, other) = if v1 { (middle, CheckpointFormat::V2) } else { (middle - 1, CheckpointFormat::V1) };
        if all(stored) {
            let found = format!("all stored zero points are {stored}: they are read as {} has them", other.name());
            return (!v1, Some(format!("{label}, but {found}")));
        }
        (v1, Some(format!("{label}, but zero points are not all {middle}: they count as they are stored")))
    }

    /// The zero points, which are stored less 1 or as they are. // [groups, rows]
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

/// The four tensors of the layer `prefix`: `qweight`, `qzeros`, `scales`, `g_idx`.
///
/// # Errors
/// [`FormatError::NotRepresentable`] where bits or group size are not `config`'s, planes are not filled, zero
/// points are not integers of `bits` bits (or 0, in v1), scales are not exact in their type, or `sym` is claimed
/// and a zero point is not the middle code.
pub fn encode(matrix: &GroupMatrix, prefix: &str, config: &QuantizeConfig) -> Result<[RawTensor; 4], FormatError> {
    let refuse = |reason: String| refused(prefix, reason);
    let (rows, cols) = (matrix.rows, matrix.cols);
    let ModuleSettings { bits, group_size, sym } = settings(config, prefix)?;
    if matrix.bits != bits {
        return Err(refuse(format!("it has {} bits, the checkpoint {bits}", matrix.bits)));
    }
    if matrix.group_size.max(1) != group_size.unwrap_or(cols).max(1) {
        return Err(refuse(format!("its group size is {}, the checkpoint's {group_size:?}", matrix.group_size)));
    }
    let matrix = matrix.clone().validated().map_err(|error| refuse(error.to_string()))?;
    let packing = config.checkpoint_format.packing(bits);
    let [qweight, qzeros, scales, g_idx] = tensor_infos(prefix, (rows, cols), config, matrix.scale_type)?;
    let zeros = zeros(&matrix, config.checkpoint_format, sym).map_err(refuse)?;
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
    let scale_bytes = write_scales(&matrix).map_err(refuse)?;
    Ok([
        word_tensor(qweight, &packing.pack_columns(bits, &matrix.codes, cols)),
        word_tensor(qzeros, &stored),
        RawTensor { name: scales.name, element: scales.element, shape: scales.shape, bytes: scale_bytes.into() },
        word_tensor(g_idx, &order),
    ])
}

/// The zero point of symmetric layers.
fn middle(bits: u8) -> u8 {
    highest(bits) / 2 + 1
}

/// Largest code.
fn highest(bits: u8) -> u8 {
    u8::MAX >> (8 - bits)
}

/// What v1's "z - 1" subtracts from a whole word: a 1 in every code, so that a zero point of 0 borrows from its
/// neighbours and only an addition to the whole word undoes it. `None` where codes are not whole in a word:
/// there every code has its own, modulo 2^bits.
fn ones(bits: u8) -> Option<u32> {
    matches!(bits, 2 | 4 | 8).then(|| (0..32).step_by(bits.into()).fold(0, |word, shift| word | 1 << shift))
}

/// The zero points to store, before v1's subtraction from whole words. // [groups, rows]
fn zeros(matrix: &GroupMatrix, format: CheckpointFormat, sym: bool) -> Result<Vec<u8>, String> {
    let groups = matrix.groups();
    let zeros = match &matrix.zeros {
        Zeros::Constant(z) => vec![*z; matrix.rows * groups],
        Zeros::Integer(zeros) => zeros.clone(),
        Zeros::Bias(_) => return Err("its zero points are float biases, not integers".to_owned()),
    };
    let limit = highest(matrix.bits);
    if let Some(z) = zeros.iter().find(|&&z| z > limit) {
        return Err(format!("the zero point {z} is above {limit}"));
    }
    let v1 = format == CheckpointFormat::V1;
    if v1 && zeros.contains(&0) {
        return Err("checkpoint_format gptq cannot hold the zero point 0, gptq_v2 can".to_owned());
    }
    let middle = middle(matrix.bits);
    if sym && zeros.iter().any(|&z| z != middle) {
        return Err(format!("sym is set, but a zero point is not {middle}"));
    }
    let mut zeros = transposed(&zeros, groups);
    if v1 && ones(matrix.bits).is_none() {
        zeros.iter_mut().for_each(|z| *z -= 1);
    }
    Ok(zeros)
}

/// Scales in their own type; they must be exact in it. // [groups, rows]
fn write_scales(matrix: &GroupMatrix) -> Result<Vec<u8>, String> {
    let scale_type = matrix.scale_type;
    let mut out = Vec::with_capacity(matrix.scales.len() * scale_type.bytes());
    for scale in transposed(&matrix.scales, matrix.groups()) {
        if !scale.is_finite() {
            return Err(format!("the scale {scale} is not a finite number"));
        }
        match scale_type {
            ScaleType::F16 => out.extend(f16::from_f32(scale).to_le_bytes()),
            ScaleType::BF16 => out.extend(bf16::from_f32(scale).to_le_bytes()),
            ScaleType::F32 => out.extend(scale.to_le_bytes()),
        }
    }
    Ok(out)
}
