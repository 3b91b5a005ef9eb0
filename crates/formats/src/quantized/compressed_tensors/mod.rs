//! compressed-tensors checkpoints of format `pack-quantized`: integer groups.
//!
//! `weight_packed` i32 `[out, words]` holds codes `q + 2^(bits-1)` along `in`. `weight_scale` is `[out, groups]` in the
//! model's number type, `weight_shape` i64 `[2]`. `weight_zero_point` i32 `[words of out, groups]` holds
//! `z + 2^(bits-1)`, packed along `out` (older: i8 `[out, groups]`, not packed); it is absent if all zero points are 0.
//! `w = scale * (q - z)`. `weight_g_idx` i32 `[in]`, written up to 0.18 for `actorder: group`, is the group of each
//! column; -1 throughout means neighbouring columns.
//!
//! Codes are one stream since version 0.18; before, a word held 32 div bits codes. Both are the same for 2, 4 and 8 bits.
//! For other widths the number of words tells them apart, or the settings' `version` if the number fits both. Written
//! are streams, and groups of neighbouring columns.
//!
//! `float-quantized` (older: `naive-quantized`) is FP8: `weight` in E4M3, and `weight_scale` with one scale for all, one
//! per row `[out, 1]` or one per block. The settings of FP8 activations are ignored (see [`super::fp8`]).
//!
//! Other quantised activations, key-value caches, sparsity and transforms are refused by name: with them, a model does
//! not compute what its weights say.
//!
//! Source: compressed-tensors (`compressors/pack_quantized`, `quantization/quant_args.py`, `utils/match.py`).

mod config;

use honelm_blocks::{GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_tensor::AlignedVec;
use serde_json::Value;

use super::tensors::{
    I32, Packed, check_not_empty, check_not_ordered, check_whole_groups, checked, column_groups, float_tensor, floats,
    integer_zeros, invalid, refused, scale_element, scale_type, word_tensor, words, zeros_of,
};
use super::words::{Packing, transposed};
use super::{Form, GroupFormat, Method, ModuleShape, QuantizedFormat, fp8};
use crate::{ElementType, FormatError, IntegerType, RawTensor, TensorInfo, TensorSource};

pub use config::CompressedTensors;
use config::{Groups, Scheme};

pub(super) const METHOD: Method = Method {
    name: "compressed-tensors",
    reads: "pack-quantized: 2 to 8 bit, symmetric and not, both packings; float-quantized: FP8",
    recognises: |settings: &Value| settings.get("config_groups").is_some(),
    parse: |file, settings| Ok(Box::new(CompressedTensors::parse(file, settings)?)),
};

const FORMAT: &str = "compressed-tensors";

impl CompressedTensors {
    /// Returns the scheme of a module, or `None` if the module is not packed.
    fn scheme_of(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<Option<Scheme>, FormatError> {
        let groups = source.contains(&module.tensor("weight_packed"));
        if !groups && !fp8::is_fp8(source, module) {
            return Ok(None);
        }
        Ok(self.of(module)?.filter(|scheme| matches!(scheme, Scheme::Groups(_)) == groups))
    }

    /// Returns the tensors of a module in integer groups.
    fn groups(
        &self,
        source: &dyn TensorSource,
        module: &ModuleShape<'_>,
        scheme: Groups,
    ) -> Result<Packed, FormatError> {
        let packing = self.packing(source, module, scheme.bits)?;
        let zeros = module.tensor("weight_zero_point");
        let plain_zeros = source.info(&zeros).is_some_and(|info| info.element == ElementType::Integer(IntegerType::I8));
        let zero_rows = if plain_zeros { module.rows } else { packing.words(scheme.bits, module.rows) };
        tensors(module, scheme, (packing, zero_rows), scale_type(source, &module.tensor("weight_scale")))
    }

    fn decode_groups(
        &self,
        source: &dyn TensorSource,
        module: &ModuleShape<'_>,
        scheme: Groups,
    ) -> Result<GroupMatrix, FormatError> {
        let (rows, cols, bits) = (module.rows, module.cols, scheme.bits);
        check_shape(source, module)?;
        let packing = self.packing(source, module, bits)?;
        let group_size = scheme.group_size.unwrap_or(cols);
        let groups = cols.div_ceil(group_size);
        let (scale_type, scales) = floats(source, &module.tensor("weight_scale"))?;
        let mut codes = AlignedVec::zeroed(rows * cols);
        packing.unpack_rows(bits, &words(source, &module.tensor("weight_packed"))?, cols, &mut codes);
        let middle = 1u8 << (bits - 1);
        let zeros = match zeros(source, module, bits, packing, groups)? {
            None => Zeros::Constant(middle),
            Some(zeros) => {
                let zeros = zeros_of(zeros);
                if scheme.symmetric && zeros != Zeros::Constant(middle) {
                    let reason = "a zero point is not 0, but the settings say that the weights are symmetric";
                    return Err(invalid(source, &module.tensor("weight_zero_point"), reason));
                }
                zeros
            }
        };
        let order = order(source, module, group_size, groups)?;
        Ok(GroupMatrix { rows, cols, bits, group_size, scale_type, codes, scales, zeros, order })
    }

    /// Returns how the codes of a module are packed, which the width of `weight_packed` tells.
    fn packing(&self, source: &dyn TensorSource, module: &ModuleShape<'_>, bits: u8) -> Result<Packing, FormatError> {
        let name = module.tensor("weight_packed");
        let width = source.info(&name).and_then(|info| info.shape.last().copied());
        let fits = |packing: Packing| width == Some(packing.words(bits, module.cols));
        if matches!(bits, 2 | 4 | 8) || !fits(Packing::Whole) {
            return Ok(Packing::Stream);
        }
        match (fits(Packing::Stream), self.dense_packing()) {
            (false, _) | (true, Some(false)) => Ok(Packing::Whole),
            (true, Some(true)) => Ok(Packing::Stream),
            (true, None) => {
                let reason = format!(
                    "{bits} bits and {} columns fit both packings, and the settings have no version",
                    module.cols
                );
                Err(invalid(source, &name, reason))
            }
        }
    }
}

impl QuantizedFormat for CompressedTensors {
    fn name(&self) -> &'static str {
        METHOD.name
    }

    fn packed(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<Option<Packed>, FormatError> {
        match self.scheme_of(source, module)? {
            None => Ok(None),
            Some(Scheme::Groups(scheme)) => self.groups(source, module, scheme).map(Some),
            Some(Scheme::Float(grid)) => fp8::packed(source, module, grid, &["weight_scale"]).map(Some),
        }
    }

    fn decode(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<WeightData, FormatError> {
        let (Some(packed), Some(scheme)) = (self.packed(source, module)?, self.scheme_of(source, module)?) else {
            return source.matrix(&module.tensor("weight")).map(WeightData::Blocks);
        };
        packed.check(source)?;
        match scheme {
            Scheme::Groups(scheme) => self.decode_groups(source, module, scheme).map(WeightData::Groups),
            Scheme::Float(grid) => fp8::decode(source, module, grid, &["weight_scale"]),
        }
    }
}

/// Returns the tensors of a module in integer groups, whose zero points take `zero_rows` rows.
fn tensors(
    module: &ModuleShape<'_>,
    scheme: Groups,
    (packing, zero_rows): (Packing, usize),
    scale_type: ScaleType,
) -> Result<Packed, FormatError> {
    check_not_empty(module, FORMAT)?;
    let Groups { bits, symmetric, .. } = scheme;
    let (rows, cols) = (module.rows, module.cols);
    let group_size = scheme.group_size.unwrap_or(cols);
    let groups = cols.div_ceil(group_size);
    let packed = Packed::new(Form::Groups { bits, group_size, symmetric, scale_type })
        .with(module.tensor("weight_packed"), &[rows, packing.words(bits, cols)])
        .with(module.tensor("weight_scale"), &[rows, groups])
        .with(module.tensor("weight_shape"), &[2])
        .with_optional(module.tensor("weight_g_idx"), &[cols]);
    let zeros = module.tensor("weight_zero_point");
    Ok(if symmetric {
        packed.with_optional(zeros, &[zero_rows, groups])
    } else {
        packed.with(zeros, &[zero_rows, groups])
    })
}

impl CompressedTensors {
    /// Returns the scheme and the packing of a module that is to be written.
    fn written(&self, module: &ModuleShape<'_>) -> Result<(Groups, Packing), FormatError> {
        let Some(Scheme::Groups(scheme)) = self.of(module)? else {
            return Err(refused(module.name, FORMAT, "the settings give the module no integer groups"));
        };
        check_whole_groups(module, FORMAT, scheme.group_size.unwrap_or(module.cols))?;
        let whole = self.dense_packing() == Some(false);
        Ok((scheme, if whole { Packing::Whole } else { Packing::Stream }))
    }
}

impl GroupFormat for CompressedTensors {
    fn settings(&self, plain: &[String]) -> Value {
        self.to_json(plain)
    }

    fn tensor_infos(&self, module: &ModuleShape<'_>, scale_type: ScaleType) -> Result<Vec<TensorInfo>, FormatError> {
        let (scheme, packing) = self.written(module)?;
        let element = |name: &str| match name.rsplit_once('.') {
            Some((_, "weight_scale")) => scale_element(scale_type),
            Some((_, "weight_shape")) => ElementType::Integer(IntegerType::I64),
            _ => I32,
        };
        let zero_rows = packing.words(scheme.bits, module.rows);
        tensors(module, scheme, (packing, zero_rows), scale_type)?.infos(FORMAT, element)
    }

    /// Packs a matrix as `weight_packed`, `weight_scale`, `weight_shape` and, if asymmetric, `weight_zero_point`.
    fn encode(&self, module: &ModuleShape<'_>, matrix: &GroupMatrix) -> Result<Vec<RawTensor>, FormatError> {
        let (scheme, packing) = self.written(module)?;
        let (bits, rows, cols) = (scheme.bits, module.rows, module.cols);
        let matrix = checked(matrix, module, FORMAT, (bits, scheme.group_size.unwrap_or(cols)))?;
        check_not_ordered(&matrix, module, FORMAT)?;
        let zeros = integer_zeros(&matrix).map_err(|reason| refused(module.name, FORMAT, reason))?;
        if scheme.symmetric && zeros.iter().any(|&z| z != 1 << (bits - 1)) {
            return Err(refused(
                module.name,
                FORMAT,
                "the settings are symmetric, but a zero point is not the middle code",
            ));
        }
        let mut tensors = Vec::with_capacity(4);
        for info in self.tensor_infos(module, matrix.scale_type)? {
            tensors.push(match info.name.rsplit_once('.') {
                Some((_, "weight_packed")) => word_tensor(info, &packing.pack_rows(bits, &matrix.codes, cols)),
                Some((_, "weight_scale")) => float_tensor(info, &matrix.scales, matrix.scale_type),
                Some((_, "weight_shape")) => {
                    let bytes: Vec<u8> = [rows, cols].iter().flat_map(|&n| (n as u64).to_le_bytes()).collect();
                    RawTensor { name: info.name, element: info.element, shape: info.shape, bytes: bytes.into() }
                }
                _ => word_tensor(info, &packing.pack_columns(bits, &transposed(&zeros, matrix.groups()), rows)),
            });
        }
        Ok(tensors)
    }
}

/// Checks that `weight_shape` is the shape of the model's module.
fn check_shape(source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<(), FormatError> {
    let name = module.tensor("weight_shape");
    let found = source.integers(&name)?;
    let expected = [module.rows, module.cols];
    if found.iter().map(|&n| usize::try_from(n).ok()).eq(expected.map(Some)) {
        return Ok(());
    }
    Err(invalid(source, &name, format!("found {found:?}, expected {expected:?}")))
}

/// Reads the zero points. Like the codes, they have 2^(bits-1) added. // [rows, groups]
fn zeros(
    source: &dyn TensorSource,
    module: &ModuleShape<'_>,
    bits: u8,
    packing: Packing,
    groups: usize,
) -> Result<Option<Vec<u8>>, FormatError> {
    let name = module.tensor("weight_zero_point");
    let Some(info) = source.info(&name) else { return Ok(None) };
    if info.element == ElementType::Integer(IntegerType::I8) {
        let range = 0..1i64 << bits;
        let shifted = source.integers(&name)?.into_iter().map(|z| z + (1 << (bits - 1)));
        let zeros: Option<Vec<u8>> = shifted.map(|z| u8::try_from(z).ok().filter(|_| range.contains(&z))).collect();
        let wide = || invalid(source, &name, format!("a zero point does not fit in {bits} bits"));
        return zeros.map(Some).ok_or_else(wide);
    }
    let mut zeros = vec![0; groups * module.rows];
    packing.unpack_columns(bits, &words(source, &name)?, groups, module.rows, &mut zeros);
    Ok(Some(transposed(&zeros, module.rows)))
}

fn order(
    source: &dyn TensorSource,
    module: &ModuleShape<'_>,
    group_size: usize,
    groups: usize,
) -> Result<Option<Vec<u32>>, FormatError> {
    let name = module.tensor("weight_g_idx");
    if source.contains(&name) && words(source, &name)?.iter().all(|&group| group == u32::MAX) {
        return Ok(None);
    }
    column_groups(source, &name, group_size, groups)
}
