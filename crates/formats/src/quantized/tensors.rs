use bytes::Bytes;
use half::{bf16, f16};
use honelm_blocks::{Encoding, ScaleType, Zeros};

use super::{Form, ModuleShape};
use crate::{ElementType, FormatError, IntegerType, RawTensor, TensorInfo, TensorSource};

/// A tensor of a packed module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedTensor {
    /// Its name.
    pub name: String,
    /// The shape it must have.
    pub shape: Vec<usize>,
    /// Whether it must be there.
    pub required: bool,
}

/// How a module is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Its tensors, the one with the codes first.
    pub tensors: Vec<PackedTensor>,
    /// What they decode to.
    pub form: Form,
}

impl Packed {
    pub(super) fn new(form: Form) -> Self {
        Self { tensors: Vec::new(), form }
    }

    /// Adds a tensor that must be there.
    pub(super) fn with(mut self, name: String, shape: &[usize]) -> Self {
        self.tensors.push(PackedTensor { name, shape: shape.to_vec(), required: true });
        self
    }

    /// Adds a tensor that may be there.
    pub(super) fn with_optional(mut self, name: String, shape: &[usize]) -> Self {
        self.tensors.push(PackedTensor { name, shape: shape.to_vec(), required: false });
        self
    }

    /// Checks that the tensors are there in the shapes that they must have.
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
}

/// What is wrong with the contents of a tensor.
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

/// The 32-bit words of a tensor.
pub(super) fn words(source: &dyn TensorSource, name: &str) -> Result<Vec<u32>, FormatError> {
    let tensor = source.get(name)?;
    match tensor.element {
        ElementType::Integer(IntegerType::I32 | IntegerType::U32) => {
            Ok(tensor.bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect())
        }
        _ => Err(unexpected(source, tensor, "I32")),
    }
}

/// A little-endian tensor of `words`.
pub(super) fn word_tensor(info: TensorInfo, words: &[u32]) -> RawTensor {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    RawTensor { name: info.name, element: info.element, shape: info.shape, bytes: Bytes::from(bytes) }
}

/// The floats of a tensor and the type that holds them.
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

/// The number type of a tensor of scales; F16 where [`floats`] will refuse it.
pub(super) fn scale_type(source: &dyn TensorSource, name: &str) -> ScaleType {
    match source.info(name).map(|info| &info.element) {
        Some(ElementType::Weights(Encoding::BF16)) => ScaleType::BF16,
        Some(ElementType::Weights(Encoding::F32)) => ScaleType::F32,
        _ => ScaleType::F16,
    }
}

/// The group of each column; `None` where groups are neighbouring columns, or there is no such tensor.
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

/// Integer zero points, as one where they are all the same.
pub(super) fn zeros_of(zeros: Vec<u8>) -> Zeros {
    let first = zeros.first().copied().unwrap_or_default();
    if zeros.iter().all(|&z| z == first) { Zeros::Constant(first) } else { Zeros::Integer(zeros) }
}

/// Refuses a module that has no rows or no columns.
pub(super) fn check_not_empty(module: &ModuleShape<'_>, format: &'static str) -> Result<(), FormatError> {
    if module.rows > 0 && module.cols > 0 {
        return Ok(());
    }
    let reason = format!("it is {} x {}", module.rows, module.cols);
    Err(FormatError::NotRepresentable { tensor: module.name.to_owned(), format, reason })
}
