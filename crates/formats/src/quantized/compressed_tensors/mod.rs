//! compressed-tensors checkpoints of format `pack-quantized`: integer groups.
//!
//! `weight_packed` i32 `[out, words]` holds codes `q + 2^(bits-1)` along `in`; `weight_scale` `[out, groups]` in
//! the model's number type; `weight_shape` i64 `[2]`; where zero points are not all 0, `weight_zero_point`
//! i32 `[words of out, groups]` holds `z + 2^(bits-1)` packed along `out` (older: i8 `[out, groups]`, plain).
//! `w = scale * (q - z)`. `weight_g_idx` i32 `[in]`, written up to 0.18 for `actorder: group`, is the group
//! of each column; -1 throughout stands for neighbouring columns.
//!
//! Codes are one stream since version 0.18, 32 div bits a word before. For 2, 4 and 8 bits that is the same;
//! else the number of words tells, or the settings' `version` where that fits both.
//!
//! `float-quantized` (older: `naive-quantized`): FP8, `weight` in E4M3 and `weight_scale`, one for all, one a row
//! `[out, 1]` or one a block; activations in FP8 beside it are read over (see [`super::fp8`]).
//!
//! Other quantised activations, key-value caches, sparsity and transforms are refused by name: what a model computes
//! then is not what its weights say.
//!
//! Source: compressed-tensors (`compressors/pack_quantized`, `quantization/quant_args.py`, `utils/match.py`).

mod config;

use honelm_blocks::{GroupMatrix, WeightData, Zeros};
use honelm_tensor::AlignedVec;
use serde_json::Value;

use super::tensors::{Packed, check_not_empty, column_groups, floats, invalid, scale_type, words, zeros_of};
use super::words::{Packing, transposed};
use super::{Form, Method, ModuleShape, QuantizedFormat, fp8};
use crate::{ElementType, FormatError, IntegerType, TensorSource};

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
    /// The scheme of a module that is packed.
    fn scheme_of(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<Option<Scheme>, FormatError> {
        let groups = source.contains(&module.tensor("weight_packed"));
        if !groups && !fp8::is_fp8(source, module) {
            return Ok(None);
        }
        Ok(self.of(module)?.filter(|scheme| matches!(scheme, Scheme::Groups(_)) == groups))
    }

    /// The tensors of a module in integer groups.
    fn groups(
        &self,
        source: &dyn TensorSource,
        module: &ModuleShape<'_>,
        scheme: Groups,
    ) -> Result<Packed, FormatError> {
        check_not_empty(module, FORMAT)?;
        let (rows, cols, bits) = (module.rows, module.cols, scheme.bits);
        let group_size = scheme.group_size.unwrap_or(cols);
        let groups = cols.div_ceil(group_size);
        let packing = self.packing(source, module, bits)?;
        let zeros = module.tensor("weight_zero_point");
        let plain_zeros = source.info(&zeros).is_some_and(|info| info.element == ElementType::Integer(IntegerType::I8));
        let zero_rows = if plain_zeros { rows } else { packing.words(bits, rows) };
        let scale_type = scale_type(source, &module.tensor("weight_scale"));
        let packed = Packed::new(Form::Groups { bits, group_size, symmetric: scheme.symmetric, scale_type })
            .with(module.tensor("weight_packed"), &[rows, packing.words(bits, cols)])
            .with(module.tensor("weight_scale"), &[rows, groups])
            .with(module.tensor("weight_shape"), &[2])
            .with_optional(module.tensor("weight_g_idx"), &[cols]);
        Ok(if scheme.symmetric {
            packed.with_optional(zeros, &[zero_rows, groups])
        } else {
            packed.with(zeros, &[zero_rows, groups])
        })
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
                    let reason = "it is not 0 although the settings say that weights are symmetric";
                    return Err(invalid(source, &module.tensor("weight_zero_point"), reason));
                }
                zeros
            }
        };
        let order = order(source, module, group_size, groups)?;
        Ok(GroupMatrix { rows, cols, bits, group_size, scale_type, codes, scales, zeros, order })
    }

    /// How the codes of a module are packed: told by the width of `weight_packed`.
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
                let reason =
                    format!("{bits} bits and {} columns fit both packings, and no version says which", module.cols);
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

/// Checks that `weight_shape` says what the model does.
fn check_shape(source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<(), FormatError> {
    let name = module.tensor("weight_shape");
    let found = source.integers(&name)?;
    let expected = [module.rows, module.cols];
    if found.iter().map(|&n| usize::try_from(n).ok()).eq(expected.map(Some)) {
        return Ok(());
    }
    Err(invalid(source, &name, format!("it is {found:?}; expected {expected:?}")))
}

/// Zero points with 2^(bits-1) added, as the codes have it. // [rows, groups]
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
        let wide = || invalid(source, &name, format!("a zero point does not fit {bits} bits"));
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
