use bytes::Bytes;
use half::{bf16, f16};
use honelm_blocks::{Encoding, GroupMatrix, ScaleType, Zeros};
use honelm_tensor::AlignedVec;

use super::{CheckpointFormat, QuantizeConfig};
use crate::{ElementType, FormatError, IntegerType, RawTensor, TensorInfo, TensorSource};

const I32: ElementType = ElementType::Integer(IntegerType::I32);

/// Whether the linear layer `prefix` ("model.layers.0.mlp.up_proj") is stored in this layout.
pub fn is_quantized(source: &dyn TensorSource, prefix: &str) -> bool {
    source.contains(&format!("{prefix}.qweight"))
}

/// The four tensors of a layer of shape `[rows = out, cols = in]`, without data, in the order in
/// which [`encode`] gives them.
///
/// # Errors
/// [`FormatError::NotRepresentable`] where codes or zero points do not fill whole words.
pub fn layout(
    prefix: &str,
    (rows, cols): (usize, usize),
    config: &QuantizeConfig,
    scale_type: ScaleType,
) -> Result<[TensorInfo; 4], FormatError> {
    let per_word = codes_per_word(config.bits);
    for (what, found) in [("input columns", cols), ("output rows", rows)] {
        if found == 0 || !found.is_multiple_of(per_word) {
            let reason = format!("{found} {what}; {} bits need a multiple of {per_word}", config.bits);
            return Err(FormatError::NotRepresentable { tensor: prefix.to_owned(), format: "GPTQ", reason });
        }
    }
    let groups = config.groups(cols);
    let scales = match scale_type {
        ScaleType::F16 => Encoding::F16,
        ScaleType::BF16 => Encoding::BF16,
        ScaleType::F32 => Encoding::F32,
    };
    let info = |suffix: &str, element: ElementType, shape: &[usize]| {
        let (name, shape) = (format!("{prefix}.{suffix}"), shape.to_vec());
        match element.size_of(&shape) {
            Some(size) => Ok(TensorInfo { name, element, shape, size }),
            None => {
                let reason = format!("the size of shape {shape:?} does not fit in 64 bits");
                Err(FormatError::NotRepresentable { tensor: name, format: "GPTQ", reason })
            }
        }
    };
    Ok([
        info("qweight", I32, &[cols / per_word, rows])?,
        info("qzeros", I32, &[groups, rows / per_word])?,
        info("scales", ElementType::Weights(scales), &[groups, rows])?,
        info("g_idx", I32, &[cols])?,
    ])
}

/// Reads the linear layer `prefix` of shape `[rows = out, cols = in]`, without loss. A missing
/// `g_idx` stands for groups of neighbouring columns.
///
/// # Errors
/// [`FormatError::MissingTensor`], [`FormatError::UnexpectedElement`],
/// [`FormatError::ShapeMismatch`], [`FormatError::GroupIndexOutOfRange`],
/// [`FormatError::NotRepresentable`] where `rows` or `cols` do not fill whole words.
pub fn decode(
    source: &dyn TensorSource,
    prefix: &str,
    (rows, cols): (usize, usize),
    config: &QuantizeConfig,
) -> Result<GroupMatrix, FormatError> {
    let name = |suffix: &str| format!("{prefix}.{suffix}");
    let scales = source.get(&name("scales"))?;
    let Some((scale_type, scale_values)) = read_scales(&scales) else {
        return Err(FormatError::UnexpectedElement {
            file: source.file_of(&scales.name).to_owned(),
            found: scales.element.to_string(),
            tensor: scales.name,
            expected: "F16, BF16 or F32",
        });
    };
    let [qweight, qzeros, expected_scales, g_idx] = layout(prefix, (rows, cols), config, scale_type)?;
    check_shape(source, &scales, &expected_scales)?;
    let qweight = words(source, &qweight)?;
    let qzeros = words(source, &qzeros)?;
    let groups = config.groups(cols);
    let codes = unpack_codes(&qweight, config.bits, rows, cols);
    let order = if source.contains(&g_idx.name) {
        read_order(source, &words(source, &g_idx)?, &g_idx.name, config, groups)?
    } else {
        None
    };
    Ok(GroupMatrix {
        rows,
        cols,
        bits: config.bits,
        group_size: config.group_size.unwrap_or(cols),
        scale_type,
        codes,
        scales: transposed(&scale_values, groups, rows),
        zeros: unpack_zeros(&qzeros, config, rows, groups),
        order,
    })
}

/// The four tensors of the layer `prefix`: `qweight`, `qzeros`, `scales`, `g_idx`.
///
/// # Errors
/// [`FormatError::NotRepresentable`] where bits or group size are not `config`'s, rows or columns
/// do not fill whole words, zero points are not integers of `bits` bits (or 0, in v1), scales are not
/// exact in their type, or `sym` is claimed and a zero point is not the middle code.
pub fn encode(matrix: &GroupMatrix, prefix: &str, config: &QuantizeConfig) -> Result<[RawTensor; 4], FormatError> {
    let refuse = |reason: String| FormatError::NotRepresentable { tensor: prefix.to_owned(), format: "GPTQ", reason };
    let (rows, cols) = (matrix.rows, matrix.cols);
    let groups = config.groups(cols);
    if matrix.bits != config.bits {
        return Err(refuse(format!("it has {} bits, the checkpoint {}", matrix.bits, config.bits)));
    }
    if matrix.group_size.max(1) != config.group_size.unwrap_or(cols).max(1) {
        return Err(refuse(format!(
            "its group size is {}, the checkpoint's {:?}",
            matrix.group_size, config.group_size
        )));
    }
    if matrix.codes.len() != rows * cols || matrix.scales.len() != rows * groups {
        return Err(refuse(format!(
            "{} codes and {} scales for {rows} x {cols} in {groups} groups",
            matrix.codes.len(),
            matrix.scales.len()
        )));
    }
    let infos = layout(prefix, (rows, cols), config, matrix.scale_type)?;
    let limit = ((1u16 << config.bits) - 1) as u8;
    if matrix.codes.iter().any(|&q| q > limit) {
        return Err(refuse(format!("a code above {limit}")));
    }
    let zeros = pack_zeros(matrix, config, groups, limit).map_err(refuse)?;
    let scales = write_scales(matrix, groups).map_err(refuse)?;
    let g_idx = match &matrix.order {
        Some(order) if order.len() != cols || order.iter().any(|&g| g as usize >= groups) => {
            return Err(refuse(format!("its column order does not name one of {groups} groups for {cols} columns")));
        }
        Some(order) => order.iter().flat_map(|g| g.to_le_bytes()).collect(),
        None => (0..cols).flat_map(|i| ((i / matrix.group_size.max(1)) as u32).to_le_bytes()).collect(),
    };
    let qweight = pack_codes(&matrix.codes, config.bits, rows, cols);
    let mut data = [qweight, zeros, scales, g_idx].into_iter();
    Ok(infos.map(|TensorInfo { name, element, shape, .. }| {
        let bytes = Bytes::from(data.next().unwrap_or_default());
        RawTensor { name, element, shape, bytes }
    }))
}

fn codes_per_word(bits: u8) -> usize {
    32 / usize::from(bits.max(1))
}

/// What v1's "z - 1" subtracts from a whole word: a 1 in every code.
fn ones(bits: u8) -> u32 {
    (0..codes_per_word(bits)).fold(0, |word, j| word | 1 << (j * usize::from(bits)))
}

fn check_shape(source: &dyn TensorSource, tensor: &RawTensor, expected: &TensorInfo) -> Result<(), FormatError> {
    if tensor.shape == expected.shape {
        return Ok(());
    }
    Err(FormatError::ShapeMismatch {
        file: source.file_of(&tensor.name).to_owned(),
        tensor: tensor.name.clone(),
        found: tensor.shape.clone(),
        expected: expected.shape.clone(),
    })
}

/// The 32-bit words of a tensor that must have the declared type and shape.
fn words(source: &dyn TensorSource, expected: &TensorInfo) -> Result<Vec<u32>, FormatError> {
    let tensor = source.get(&expected.name)?;
    if tensor.element != expected.element {
        return Err(FormatError::UnexpectedElement {
            file: source.file_of(&tensor.name).to_owned(),
            found: tensor.element.to_string(),
            tensor: tensor.name,
            expected: "I32",
        });
    }
    check_shape(source, &tensor, expected)?;
    Ok(tensor.bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect())
}

/// Codes `[rows, cols]` from words `[cols / per_word, rows]`.
fn unpack_codes(words: &[u32], bits: u8, rows: usize, cols: usize) -> AlignedVec<u8> {
    let per_word = codes_per_word(bits);
    let mask = (1u32 << bits) - 1;
    let mut codes = AlignedVec::zeroed(rows * cols);
    for (r, row_of_words) in words.chunks_exact(rows).enumerate() {
        for (line, &word) in codes.chunks_exact_mut(cols).zip(row_of_words) {
            for (j, code) in line[r * per_word..][..per_word].iter_mut().enumerate() {
                *code = (word >> (j * usize::from(bits)) & mask) as u8;
            }
        }
    }
    codes
}

/// The inverse of [`unpack_codes`], as bytes.
fn pack_codes(codes: &[u8], bits: u8, rows: usize, cols: usize) -> Vec<u8> {
    let per_word = codes_per_word(bits);
    let mut out = Vec::with_capacity(rows * cols / per_word * 4);
    for r in 0..cols / per_word {
        for line in codes.chunks_exact(cols) {
            out.extend(pack_word(&line[r * per_word..][..per_word], bits).to_le_bytes());
        }
    }
    out
}

fn pack_word(codes: &[u8], bits: u8) -> u32 {
    codes.iter().enumerate().fold(0, |word, (j, &code)| word | u32::from(code) << (j * usize::from(bits)))
}

/// Zero points from words `[groups, rows / per_word]`.
fn unpack_zeros(words: &[u32], config: &QuantizeConfig, rows: usize, groups: usize) -> Zeros {
    let (bits, per_word) = (config.bits, codes_per_word(config.bits));
    let mask = (1u32 << bits) - 1;
    // v1 subtracted 1 from every code with borrows across the whole word; adding to the whole word
    // undoes exactly that.
    let add = if config.checkpoint_format == CheckpointFormat::V1 { ones(bits) } else { 0 };
    let mut zeros = vec![0u8; rows * groups];
    for (group, line) in words.chunks_exact(rows / per_word).enumerate() {
        for (c, word) in line.iter().map(|word| word.wrapping_add(add)).enumerate() {
            for j in 0..per_word {
                zeros[(c * per_word + j) * groups + group] = (word >> (j * usize::from(bits)) & mask) as u8;
            }
        }
    }
    let first = zeros.first().copied().unwrap_or_default();
    if zeros.iter().all(|&z| z == first) { Zeros::Constant(first) } else { Zeros::Integer(zeros) }
}

/// The words of [`unpack_zeros`], as bytes.
fn pack_zeros(matrix: &GroupMatrix, config: &QuantizeConfig, groups: usize, limit: u8) -> Result<Vec<u8>, String> {
    let (rows, per_word) = (matrix.rows, codes_per_word(config.bits));
    let constant;
    let zeros: &[u8] = match &matrix.zeros {
        Zeros::Constant(z) => {
            constant = vec![*z; rows * groups];
            &constant
        }
        Zeros::Integer(zeros) => zeros,
        Zeros::Bias(_) => return Err("its zero points are float biases, not integers".to_owned()),
    };
    if zeros.len() != rows * groups {
        return Err(format!("{} zero points for {rows} rows of {groups} groups", zeros.len()));
    }
    if let Some(z) = zeros.iter().find(|&&z| z > limit) {
        return Err(format!("the zero point {z} is above {limit}"));
    }
    let v1 = config.checkpoint_format == CheckpointFormat::V1;
    if v1 && zeros.contains(&0) {
        return Err("checkpoint_format gptq cannot hold the zero point 0, gptq_v2 can".to_owned());
    }
    let middle = 1 << (config.bits - 1);
    if config.sym && zeros.iter().any(|&z| z != middle) {
        return Err(format!("sym is set, but a zero point is not {middle}"));
    }
    let subtract = if v1 { ones(config.bits) } else { 0 };
    let mut out = Vec::with_capacity(rows / per_word * groups * 4);
    let mut codes = vec![0u8; per_word];
    for group in 0..groups {
        for c in 0..rows / per_word {
            for (j, code) in codes.iter_mut().enumerate() {
                *code = zeros[(c * per_word + j) * groups + group];
            }
            out.extend(pack_word(&codes, config.bits).wrapping_sub(subtract).to_le_bytes());
        }
    }
    Ok(out)
}

/// The group of each column; `None` where groups are neighbouring columns.
fn read_order(
    source: &dyn TensorSource,
    words: &[u32],
    name: &str,
    config: &QuantizeConfig,
    groups: usize,
) -> Result<Option<Vec<u32>>, FormatError> {
    if let Some((column, &found)) = words.iter().enumerate().find(|&(_, &g)| g as usize >= groups) {
        return Err(FormatError::GroupIndexOutOfRange {
            file: source.file_of(name).to_owned(),
            tensor: name.to_owned(),
            column,
            found: found.cast_signed(),
            groups,
        });
    }
    let size = config.group_size.unwrap_or(words.len()).max(1);
    let plain = words.iter().enumerate().all(|(i, &g)| g as usize == i / size);
    Ok(if plain { None } else { Some(words.to_vec()) })
}

fn read_scales(tensor: &RawTensor) -> Option<(ScaleType, Vec<f32>)> {
    fn read<const W: usize>(bytes: &[u8], value: impl Fn([u8; W]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<W>().0.iter().map(|&b| value(b)).collect()
    }
    match tensor.element {
        ElementType::Weights(Encoding::F16) => {
            Some((ScaleType::F16, read::<2>(&tensor.bytes, |b| f16::from_le_bytes(b).to_f32())))
        }
        ElementType::Weights(Encoding::BF16) => {
            Some((ScaleType::BF16, read::<2>(&tensor.bytes, |b| bf16::from_le_bytes(b).to_f32())))
        }
        ElementType::Weights(Encoding::F32) => Some((ScaleType::F32, read::<4>(&tensor.bytes, f32::from_le_bytes))),
        _ => None,
    }
}

/// Scales `[groups, rows]` in their own type; they must be exact in it.
fn write_scales(matrix: &GroupMatrix, groups: usize) -> Result<Vec<u8>, String> {
    let scale_type = matrix.scale_type;
    let mut out = Vec::with_capacity(matrix.scales.len() * scale_type.bytes());
    for group in 0..groups {
        for row in 0..matrix.rows {
            let scale = matrix.scales[row * groups + group];
            if !scale.is_finite() || scale_type.round(scale) != scale {
                return Err(format!("the scale {scale} of row {row} is not exact in {}", scale_type.name()));
            }
            match scale_type {
                ScaleType::F16 => out.extend(f16::from_f32(scale).to_le_bytes()),
                ScaleType::BF16 => out.extend(bf16::from_f32(scale).to_le_bytes()),
                ScaleType::F32 => out.extend(scale.to_le_bytes()),
            }
        }
    }
    Ok(out)
}

/// `[groups, rows]` to `[rows, groups]`.
fn transposed(values: &[f32], groups: usize, rows: usize) -> Vec<f32> {
    (0..rows * groups).map(|i| values[(i % groups) * rows + i / groups]).collect()
}
