//! The tensors of packed modules: their names and shapes, and typed access to their contents.

use bytes::Bytes;
use half::{bf16, f16};
use honelm_blocks::{Encoding, GroupMatrix, ScaleType, Zeros};

use super::{Form, ModuleShape};
use crate::{ElementType, FormatError, IntegerType, RawTensor, TensorInfo, TensorSource};

pub(super) const I32: ElementType = ElementType::Integer(IntegerType::I32);

/// A tensor of a packed module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedTensor {
    /// The tensor's name.
    pub name: String,
    /// The shape that the tensor must have.
    pub shape: Vec<usize>,
    /// `true` if the module cannot be decoded without the tensor.
    pub required: bool,
}

/// The tensors of a packed module and the form that they decode to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The tensors, the one with the codes first.
    pub tensors: Vec<PackedTensor>,
    /// The form of the decoded weight.
    pub form: Form,
}

impl Packed {
    pub(super) fn new(form: Form) -> Self {
        Self { tensors: Vec::new(), form }
    }

    /// Adds a required tensor.
    pub(super) fn with(mut self, name: String, shape: &[usize]) -> Self {
        self.tensors.push(PackedTensor { name, shape: shape.to_vec(), required: true });
        self
    }

    /// Adds an optional tensor.
    pub(super) fn with_optional(mut self, name: String, shape: &[usize]) -> Self {
        self.tensors.push(PackedTensor { name, shape: shape.to_vec(), required: false });
        self
    }

    /// Checks that the required tensors exist and that every tensor that exists has the right shape.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`], [`FormatError::ShapeMismatch`].
    pub fn check(&self, source: &dyn TensorSource) -> Result<(), FormatError> {
        for tensor in &self.tensors {
            let file = || source.file_of(&tensor.name).to_owned();
            match source.info(&tensor.name) {
                Some(info) if info.shape != tensor.shape => {
                    return Err(FormatError::ShapeMismatch {
                        file: file(),
                        tensor: tensor.name.clone(),
                        found: info.shape.clone(),
                        expected: tensor.shape.clone(),
                    });
                }
                None if tensor.required => {
                    return Err(FormatError::MissingTensor { file: file(), tensor: tensor.name.clone() });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the required tensors as they are declared to a writer; `element` gives the type of each by its name.
    pub(super) fn infos(
        self,
        format: &'static str,
        element: impl Fn(&str) -> ElementType,
    ) -> Result<Vec<TensorInfo>, FormatError> {
        let required = self.tensors.into_iter().filter(|tensor| tensor.required);
        required.map(|PackedTensor { name, shape, .. }| info(format, element(&name), name, shape)).collect()
    }
}

/// Returns the declaration of a tensor.
pub(super) fn info(
    format: &'static str,
    element: ElementType,
    name: String,
    shape: Vec<usize>,
) -> Result<TensorInfo, FormatError> {
    match element.size_of(&shape) {
        Some(size) => Ok(TensorInfo { name, element, shape, size }),
        None => Err(refused(&name, format, format!("the size of shape {shape:?} does not fit in 64 bits"))),
    }
}

/// Returns the error of a module or tensor that `format` cannot hold.
pub(super) fn refused(name: &str, format: &'static str, reason: impl Into<String>) -> FormatError {
    FormatError::NotRepresentable { tensor: name.to_owned(), format, reason: reason.into() }
}

/// Returns the error of a tensor with invalid contents.
pub(super) fn invalid(source: &dyn TensorSource, tensor: &str, reason: impl Into<String>) -> FormatError {
    let file = source.file_of(tensor).to_owned();
    FormatError::InvalidPacking { file, tensor: tensor.to_owned(), reason: reason.into() }
}

fn unexpected(source: &dyn TensorSource, tensor: RawTensor, expected: &'static str) -> FormatError {
    FormatError::UnexpectedElement {
        file: source.file_of(&tensor.name).to_owned(),
        found: tensor.element.to_string(),
        tensor: tensor.name,
        expected,
    }
}

/// Reads the 32-bit words of a tensor.
pub(super) fn words(source: &dyn TensorSource, name: &str) -> Result<Vec<u32>, FormatError> {
    let tensor = source.get(name)?;
    match tensor.element {
        ElementType::Integer(IntegerType::I32 | IntegerType::U32) => {
            Ok(tensor.bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect())
        }
        _ => Err(unexpected(source, tensor, "I32")),
    }
}

/// Reads the floats of a tensor. Returns them with the type in which they are stored.
pub(super) fn floats(source: &dyn TensorSource, name: &str) -> Result<(ScaleType, Vec<f32>), FormatError> {
    fn read<const W: usize>(bytes: &[u8], value: impl Fn([u8; W]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<W>().0.iter().map(|&b| value(b)).collect()
    }
    let tensor = source.get(name)?;
    match tensor.element {
        ElementType::Weights(Encoding::F16) => {
            Ok((ScaleType::F16, read::<2>(&tensor.bytes, |b| f16::from_le_bytes(b).to_f32())))
        }
        ElementType::Weights(Encoding::BF16) => {
            Ok((ScaleType::BF16, read::<2>(&tensor.bytes, |b| bf16::from_le_bytes(b).to_f32())))
        }
        ElementType::Weights(Encoding::F32) => Ok((ScaleType::F32, read::<4>(&tensor.bytes, f32::from_le_bytes))),
        _ => Err(unexpected(source, tensor, "F16, BF16 or F32")),
    }
}

/// Returns the number type of a tensor of scales, or F16 if [`floats`] would refuse the tensor.
pub(super) fn scale_type(source: &dyn TensorSource, name: &str) -> ScaleType {
    match source.info(name).map(|info| &info.element) {
        Some(ElementType::Weights(Encoding::BF16)) => ScaleType::BF16,
        Some(ElementType::Weights(Encoding::F32)) => ScaleType::F32,
        _ => ScaleType::F16,
    }
}

/// Reads the group of each column. Returns `None` if groups are neighbouring columns, or if there is no such tensor.
pub(super) fn column_groups(
    source: &dyn TensorSource,
    name: &str,
    group_size: usize,
    groups: usize,
) -> Result<Option<Vec<u32>>, FormatError> {
    if !source.contains(name) {
        return Ok(None);
    }
    let found = words(source, name)?;
    if let Some((column, &group)) = found.iter().enumerate().find(|&(_, &group)| group as usize >= groups) {
        return Err(FormatError::GroupIndexOutOfRange {
            file: source.file_of(name).to_owned(),
            tensor: name.to_owned(),
            column,
            found: group.cast_signed(),
            groups,
        });
    }
    let plain = found.iter().enumerate().all(|(i, &group)| group as usize == i / group_size.max(1));
    Ok(if plain { None } else { Some(found) })
}

/// Returns integer zero points as a single value if all are equal.
pub(super) fn zeros_of(zeros: Vec<u8>) -> Zeros {
    let first = zeros.first().copied().unwrap_or_default();
    if zeros.iter().all(|&z| z == first) { Zeros::Constant(first) } else { Zeros::Integer(zeros) }
}

/// Refuses a module without rows or columns.
pub(super) fn check_not_empty(module: &ModuleShape<'_>, format: &'static str) -> Result<(), FormatError> {
    if module.rows > 0 && module.cols > 0 {
        return Ok(());
    }
    Err(refused(module.name, format, format!("its shape is {} x {}", module.rows, module.cols)))
}

/// Refuses a module whose rows are not whole groups of `group_size` columns.
pub(super) fn check_whole_groups(
    module: &ModuleShape<'_>,
    format: &'static str,
    group_size: usize,
) -> Result<(), FormatError> {
    if group_size > 0 && module.cols.is_multiple_of(group_size) {
        return Ok(());
    }
    let reason =
        format!("it has {} input columns, which is not a multiple of the group size {group_size}", module.cols);
    Err(refused(module.name, format, reason))
}

/// Checks a matrix that is to be written: its shape, bits and group size against the settings, everything that
/// [`GroupMatrix::validated`] checks, and that scales and biases are finite.
pub(super) fn checked(
    matrix: &GroupMatrix,
    module: &ModuleShape<'_>,
    format: &'static str,
    (bits, group_size): (u8, usize),
) -> Result<GroupMatrix, FormatError> {
    let refuse = |reason: String| refused(module.name, format, reason);
    let differs = |what: &str, found: String, expected: String| {
        let reason = format!("{what}: found {found}, expected {expected}");
        if found == expected { Ok(()) } else { Err(refuse(reason)) }
    };
    let shape = |rows: usize, cols: usize| format!("{rows} x {cols}");
    differs("shape", shape(matrix.rows, matrix.cols), shape(module.rows, module.cols))?;
    differs("bits", matrix.bits.to_string(), bits.to_string())?;
    differs("group size", matrix.group_size.max(1).to_string(), group_size.max(1).to_string())?;
    let matrix = matrix.clone().validated().map_err(|error| refuse(error.to_string()))?;
    let biases = if let Zeros::Bias(biases) = &matrix.zeros { biases.as_slice() } else { &[] };
    match matrix.scales.iter().chain(biases).find(|x| !x.is_finite()) {
        Some(x) => Err(refuse(format!("the scale or bias {x} is not a finite number"))),
        None => Ok(matrix),
    }
}

/// Refuses a matrix whose groups are not neighbouring columns.
pub(super) fn check_not_ordered(
    matrix: &GroupMatrix,
    module: &ModuleShape<'_>,
    format: &'static str,
) -> Result<(), FormatError> {
    match matrix.order {
        None => Ok(()),
        Some(_) => Err(refused(module.name, format, "its groups are not neighbouring columns; only gptq stores such")),
    }
}

/// Returns the zero point of every group. // [rows, groups]
///
/// # Errors
/// The reason, where zero points are biases or do not fit the bits of the codes.
pub(super) fn integer_zeros(matrix: &GroupMatrix) -> Result<Vec<u8>, String> {
    let zeros = match &matrix.zeros {
        Zeros::Constant(z) => vec![*z; matrix.rows * matrix.groups()],
        Zeros::Integer(zeros) => zeros.clone(),
        Zeros::Bias(_) => return Err("its groups have float biases instead of integer zero points".to_owned()),
    };
    let highest = u8::MAX >> (8 - matrix.bits);
    match zeros.iter().find(|&&z| z > highest) {
        Some(z) => Err(format!("the zero point {z} is above {highest}")),
        None => Ok(zeros),
    }
}

/// Returns a little-endian tensor of `words`.
pub(super) fn word_tensor(info: TensorInfo, words: &[u32]) -> RawTensor {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    RawTensor { name: info.name, element: info.element, shape: info.shape, bytes: Bytes::from(bytes) }
}

/// Returns a tensor of `values`, which are exact in `scale_type`.
pub(super) fn float_tensor(info: TensorInfo, values: &[f32], scale_type: ScaleType) -> RawTensor {
    let mut out = Vec::with_capacity(values.len() * scale_type.bytes());
    for &value in values {
        match scale_type {
            ScaleType::F16 => out.extend(f16::from_f32(value).to_le_bytes()),
            ScaleType::BF16 => out.extend(bf16::from_f32(value).to_le_bytes()),
            ScaleType::F32 => out.extend(value.to_le_bytes()),
        }
    }
    RawTensor { name: info.name, element: info.element, shape: info.shape, bytes: Bytes::from(out) }
}

/// Returns the element type of scales.
pub(super) fn scale_element(scale_type: ScaleType) -> ElementType {
    ElementType::Weights(match scale_type {
        ScaleType::F16 => Encoding::F16,
        ScaleType::BF16 => Encoding::BF16,
        ScaleType::F32 => Encoding::F32,
    })
}
