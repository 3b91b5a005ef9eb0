//! The table of the containers that models are written in. The rest of the program asks this table and matches on no
//! container by name.

use std::fmt;

use honelm_blocks::{Encoding, ScaleType, WeightData};
use honelm_formats::quantized::awq::Awq;
use honelm_formats::quantized::compressed_tensors::CompressedTensors;
use honelm_formats::quantized::gptq::{CheckpointFormat, Dynamic, QuantizeConfig};
use honelm_formats::quantized::mlx::Mlx;
use honelm_formats::quantized::{GroupFormat, ModuleClass, ModuleShape};

use super::refused;
use crate::module::HfForm;
use crate::{ModelError, Module, Parameters, Slot, StoredEncoding, Tree};

/// Every container, GGUF first.
pub static CONTAINERS: &[Container] = &[
    Container { name: "gguf", summary: "one file for llama.cpp and HoneLM", output: "model.gguf", groups: None },
    Container {
        name: "gptq",
        summary: "a Hugging Face folder in GPTQ's format",
        output: "gptq",
        groups: Some(Groups {
            bits: &[2, 3, 4, 8],
            group_sizes: GroupSizes::MultiplesOf(32),
            symmetric: false,
            scale_types: &[ScaleType::F16],
            has_bias: false,
            candidates: &[(4, 128), (4, 64), (4, 32), (8, 128)],
            transposed: true,
            format: gptq,
        }),
    },
    Container {
        name: "awq",
        summary: "a Hugging Face folder in AWQ's format (GEMM)",
        output: "awq",
        groups: Some(Groups {
            bits: &[4],
            group_sizes: GroupSizes::OneOf(&[32, 64, 128]),
            symmetric: false,
            scale_types: &[ScaleType::F16],
            has_bias: false,
            candidates: &[(4, 128), (4, 64), (4, 32)],
            transposed: false,
            format: |form, _| Ok(Box::new(Awq { group_size: group_size(form) })),
        }),
    },
    Container {
        name: "compressed-tensors",
        summary: "a Hugging Face folder in vLLM's format (pack-quantized)",
        output: "compressed-tensors",
        groups: Some(Groups {
            bits: &[4, 8],
            group_sizes: GroupSizes::MultiplesOf(32),
            // compressed-tensors 0.20 under transformers refuses packed zero points, which the package itself writes.
            symmetric: true,
            scale_types: &[ScaleType::F16, ScaleType::BF16, ScaleType::F32],
            has_bias: false,
            candidates: &[(4, 128), (4, 64), (4, 32), (8, 128)],
            transposed: false,
            format: |form, _| Ok(Box::new(CompressedTensors::uniform(form.bits, group_size(form), form.symmetric))),
        }),
    },
    Container {
        name: "mlx",
        summary: "a folder for Apple's MLX (affine)",
        output: "mlx",
        groups: Some(Groups {
            bits: &[2, 3, 4, 5, 6, 8],
            group_sizes: GroupSizes::OneOf(&[32, 64, 128]),
            symmetric: false,
            scale_types: &[ScaleType::F16, ScaleType::BF16, ScaleType::F32],
            has_bias: true,
            candidates: &[(4, 128), (4, 64), (4, 32), (5, 64), (6, 64), (8, 64)],
            transposed: false,
            format: |form, _| Ok(Box::new(Mlx::uniform(form.bits, form.group_size))),
        }),
    },
];

/// A container that models are written in.
pub struct Container {
    /// The name on the command line and in reports.
    pub name: &'static str,
    /// A description for help texts.
    pub summary: &'static str,
    /// The name of the published file or folder.
    pub output: &'static str,
    /// The integer groups of a Hugging Face folder, or `None` for a GGUF file, whose matrices are in encodings of blocks.
    pub groups: Option<Groups>,
}

/// The integer groups that a container can hold.
#[derive(Debug)]
pub struct Groups {
    /// The bits per code.
    pub bits: &'static [u8],
    /// The columns per group.
    pub group_sizes: GroupSizes,
    /// `true` if models are written with every zero point in the middle, although the container can hold others.
    pub symmetric: bool,
    /// The number types of scales.
    pub scale_types: &'static [ScaleType],
    /// `true` if groups that are not symmetric have a bias in the scales' number type instead of an integer zero point.
    pub has_bias: bool,
    /// The bits and group sizes that an optimisation tries, smallest file first.
    pub candidates: &'static [(u8, usize)],
    /// `true` if the modules that Hugging Face stores transposed (GPT-2's `Conv1D`) can be held too.
    transposed: bool,
    format: MakeFormat,
}

/// Makes a format for a form. The second argument returns `true` if a zero point is 0, which takes reading all weights.
type MakeFormat =
    fn(GroupForm, &mut dyn FnMut() -> Result<bool, ModelError>) -> Result<Box<dyn GroupFormat>, ModelError>;

/// The group sizes that a container can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupSizes {
    /// Every multiple of this number but 0.
    MultiplesOf(usize),
    /// These sizes alone.
    OneOf(&'static [usize]),
}

/// The form of a model's integer groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupForm {
    /// The bits per code.
    pub bits: u8,
    /// The columns per group; 0 for one group per row.
    pub group_size: usize,
    /// `true` if every zero point is the middle code.
    pub symmetric: bool,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Container").field(&self.name).finish()
    }
}

impl PartialEq for Container {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Container {}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for GroupSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MultiplesOf(unit) => write!(f, "multiples of {unit}"),
            Self::OneOf(sizes) => f.write_str(&listed(sizes)),
        }
    }
}

impl GroupSizes {
    /// Returns `true` if groups of `size` columns can be held.
    #[must_use]
    pub fn contains(self, size: usize) -> bool {
        match self {
            Self::MultiplesOf(unit) => size > 0 && size.is_multiple_of(unit),
            Self::OneOf(sizes) => sizes.contains(&size),
        }
    }
}

impl Groups {
    /// Returns the number type of the scales for a model: that of its linear modules where the container can hold it, as
    /// the formats' own tools choose it, otherwise F16.
    ///
    /// # Errors
    /// Errors of the model's files.
    pub fn scale_type(&self, tree: &Tree, params: &dyn Parameters) -> Result<ScaleType, ModelError> {
        let is_linear = |slot: &Slot| slot.layer.is_some() && tree.module(*slot).is_some_and(Module::is_linear);
        let stored = tree.slots().find(is_linear).map(|slot| params.encoding(slot)).transpose()?;
        let own = match stored {
            Some(StoredEncoding::Blocks(Encoding::BF16)) => ScaleType::BF16,
            Some(StoredEncoding::Groups { scale_type, .. }) => scale_type,
            _ => ScaleType::F16,
        };
        Ok(if self.scale_types.contains(&own) { own } else { ScaleType::F16 })
    }
}

impl Container {
    /// Returns the container called `name`, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<&'static Self> {
        CONTAINERS.iter().find(|container| container.name.eq_ignore_ascii_case(name))
    }

    /// Returns the container of GGUF files.
    #[must_use]
    pub fn gguf() -> &'static Self {
        &CONTAINERS[0]
    }

    /// Returns the containers of integer groups: every one but GGUF.
    pub fn folders() -> impl Iterator<Item = (&'static Self, &'static Groups)> {
        CONTAINERS.iter().filter_map(|container| Some((container, container.groups.as_ref()?)))
    }

    /// Checks that the container can hold integer groups of `bits` bits and `group_size` columns.
    ///
    /// # Errors
    /// [`ModelError::NotExportable`].
    pub fn check_form(&self, bits: Option<u8>, group_size: Option<usize>) -> Result<&Groups, ModelError> {
        let problem =
            |what: String, supported: String| Err(refused(what, self.name, format!("supported: {supported}")));
        match &self.groups {
            None => Err(refused("a choice of bits and group size", self.name, "its encodings have their own")),
            Some(groups) => match (bits, group_size) {
                (Some(bits), _) if !groups.bits.contains(&bits) => {
                    problem(format!("{bits} bits per weight"), listed(groups.bits))
                }
                (_, Some(size)) if !groups.group_sizes.contains(size) => {
                    problem(format!("a group size of {size}"), groups.group_sizes.to_string())
                }
                _ => Ok(groups),
            },
        }
    }

    /// Returns the bits and group sizes to try, smallest file first. `bits` and `group_size` restrict the choice.
    ///
    /// # Errors
    /// The errors of [`Container::check_form`].
    pub fn candidates(&self, bits: Option<u8>, group_size: Option<usize>) -> Result<Vec<(u8, usize)>, ModelError> {
        let groups = self.check_form(bits, group_size)?;
        let chosen = |&(known, _): &(u8, usize)| bits.is_none_or(|bits| bits == known);
        let mut found: Vec<(u8, usize)> = groups.candidates.iter().copied().filter(chosen).collect();
        if let Some(bits) = bits.filter(|_| found.is_empty()) {
            found.extend(groups.candidates.iter().map(|&(_, size)| (bits, size)));
            found.sort_by_key(|&(_, size)| std::cmp::Reverse(size));
            found.dedup();
        }
        if let Some(size) = group_size {
            found.iter_mut().for_each(|candidate| candidate.1 = size);
            found.dedup();
        }
        Ok(found)
    }

    /// Checks, before any work, that every linear module of the layers of `tree` can be held in `form`.
    ///
    /// # Errors
    /// The errors of [`Container::check_form`], and [`ModelError::NotExportable`] or a format's error for the first module
    /// that cannot be held.
    pub fn check_model(&self, tree: &Tree, form: GroupForm) -> Result<(), ModelError> {
        let groups = self.check_form(Some(form.bits), Some(form.group_size).filter(|&size| size > 0))?;
        let format = (groups.format)(form, &mut || Ok(false))?;
        for slot in tree.slots().filter(|slot| slot.layer.is_some()) {
            let (Some(module), Some(name)) = (tree.module(slot), tree.hf_name(slot)) else { continue };
            if !module.is_linear() {
                continue;
            }
            if module.hf_form == HfForm::Transposed && !groups.transposed {
                return Err(refused(name, self.name, "Hugging Face stores the module transposed; gptq can hold it"));
            }
            format.tensor_infos(&module_shape(&name, module), ScaleType::F16)?;
        }
        Ok(())
    }

    /// Returns the format that writes the integer groups of `params`, which are in `form`.
    ///
    /// # Errors
    /// The errors of [`Container::check_model`], and [`ModelError::NotExportable`] if a scale's number type is not supported.
    pub fn format(
        &self,
        tree: &Tree,
        params: &dyn Parameters,
        form: GroupForm,
    ) -> Result<Box<dyn GroupFormat>, ModelError> {
        self.check_model(tree, form)?;
        let groups = self.check_form(Some(form.bits), None)?;
        for slot in tree.slots() {
            if let StoredEncoding::Groups { scale_type, .. } = params.encoding(slot)?
                && !groups.scale_types.contains(&scale_type)
            {
                let names: Vec<_> = groups.scale_types.iter().map(|known| known.name()).collect();
                let problem = format!("its scales are {}, supported: {}", scale_type.name(), names.join(", "));
                return Err(refused(tree.hf_name(slot).unwrap_or_default(), self.name, problem));
            }
        }
        (groups.format)(form, &mut || has_zero_point_0(tree, params))
    }
}

/// Returns the name and shape of a linear module.
pub(super) fn module_shape<'a>(name: &'a str, module: &Module) -> ModuleShape<'a> {
    ModuleShape { name, class: ModuleClass::Linear, rows: module.shape[0], cols: module.shape[1] }
}

/// `[2, 4, 8]` -> `2, 4, 8`.
fn listed<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns the size of one group, or `None` for one group per row.
fn group_size(form: GroupForm) -> Option<usize> {
    (form.group_size > 0).then_some(form.group_size)
}

fn gptq(
    form: GroupForm,
    has_zero_point_0: &mut dyn FnMut() -> Result<bool, ModelError>,
) -> Result<Box<dyn GroupFormat>, ModelError> {
    let checkpoint_format = if has_zero_point_0()? { CheckpointFormat::V2 } else { CheckpointFormat::V1 };
    Ok(Box::new(QuantizeConfig {
        bits: form.bits,
        group_size: group_size(form),
        desc_act: false,
        sym: form.symmetric,
        lm_head: false,
        checkpoint_format,
        dynamic: Dynamic::default(),
        extra: serde_json::Map::default(),
    }))
}

/// Returns `true` if a zero point of an integer group is 0.
fn has_zero_point_0(tree: &Tree, params: &dyn Parameters) -> Result<bool, ModelError> {
    let is_grouped = |slot: &Slot| tree.module(*slot).is_some_and(Module::is_linear);
    for slot in tree.slots().filter(is_grouped) {
        if !matches!(params.encoding(slot)?, StoredEncoding::Groups { .. }) {
            continue;
        }
        if let WeightData::Groups(matrix) = params.parameter(slot)?.weight
            && CheckpointFormat::for_matrices([&matrix]) == CheckpointFormat::V2
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(name: &str, bits: Option<u8>, size: Option<usize>) -> Result<Vec<(u8, usize)>, String> {
        let container = Container::from_name(name).expect("known");
        container.candidates(bits, size).map_err(|error| error.to_string())
    }

    #[test]
    fn candidates_are_restricted_by_bits_and_group_size() {
        let of = |bits, size| candidates("gptq", bits, size).expect("some");
        assert_eq!(of(None, None), [(4, 128), (4, 64), (4, 32), (8, 128)]);
        assert_eq!(of(None, Some(96)), [(4, 96), (8, 96)]);
        assert_eq!(of(Some(8), None), [(8, 128)]);
        assert_eq!(of(Some(3), None), [(3, 128), (3, 64), (3, 32)]);
        assert_eq!(of(Some(2), Some(32)), [(2, 32)]);
        for (name, bits, size, expected) in [
            ("gptq", Some(5), None, "5 bits per weight cannot be written as gptq: supported: 2, 3, 4, 8"),
            ("gptq", None, Some(33), "a group size of 33 cannot be written as gptq: supported: multiples of 32"),
            ("gptq", None, Some(0), "a group size of 0 cannot be written as gptq: supported: multiples of 32"),
            (
                "gguf",
                Some(4),
                None,
                "a choice of bits and group size cannot be written as gguf: its encodings have their own",
            ),
        ] {
            assert_eq!(candidates(name, bits, size).expect_err("refused"), expected);
        }
    }

    #[test]
    fn every_candidate_can_be_held_and_names_are_unique() {
        for (i, container) in CONTAINERS.iter().enumerate() {
            assert!(
                CONTAINERS[..i].iter().all(|other| other.name != container.name && other.output != container.output)
            );
            for &(bits, size) in container.groups.iter().flat_map(|groups| groups.candidates) {
                assert!(container.check_form(Some(bits), Some(size)).is_ok(), "{container} {bits} {size}");
            }
        }
        assert_eq!(Container::from_name("GPTQ").map(|container| container.output), Some("gptq"));
    }
}
