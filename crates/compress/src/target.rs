//! The encoding that every matrix of a model gets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use honelm_blocks::{Encoding, ScaleType};
use honelm_model::{Kind, Module, Slot, StoredEncoding, Tree};

use crate::{Importance, Recipe};

/// The encoding of a compressed matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The encoding of the checkpoint.
    Keep,
    /// Row-wise blocks or floats.
    Block(Encoding),
    /// Integer groups.
    Groups {
        /// Bits per code.
        bits: u8,
        /// Columns per group; 0 for the whole row.
        group_size: usize,
        /// `true` if the zero point is fixed in the middle of the codes.
        symmetric: bool,
        /// The numbers of each group.
        numbers: GroupNumbers,
    },
}

/// The numbers that an integer group is stored with, which depend on the container and the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupNumbers {
    /// The number type of the scales.
    pub scale_type: ScaleType,
    /// `true` if groups that are not symmetric have a bias of that type instead of an integer zero point (MLX).
    pub has_bias: bool,
}

impl Default for GroupNumbers {
    fn default() -> Self {
        Self { scale_type: ScaleType::F16, has_bias: false }
    }
}

impl Target {
    /// Returns integer groups with F16 scales and integer zero points.
    #[must_use]
    pub fn groups(bits: u8, group_size: usize, symmetric: bool) -> Self {
        Self::Groups { bits, group_size, symmetric, numbers: GroupNumbers::default() }
    }

    /// Returns the target that a matrix of `cols` columns can have: an encoding whose blocks do not fill its rows is
    /// replaced by the next larger one, as in llama.cpp.
    #[must_use]
    pub fn for_columns(self, cols: usize) -> Self {
        match self {
            Self::Block(encoding) => Self::Block(encoding.for_columns(cols)),
            other => other,
        }
    }

    /// Returns `true` if a matrix of `cols` columns that is stored as `stored` has this target. [`Target::Keep`] is met by
    /// every encoding.
    #[must_use]
    pub fn is_met_by(self, stored: StoredEncoding, cols: usize) -> bool {
        match (self, stored) {
            (Self::Keep, _) => true,
            (Self::Block(wanted), StoredEncoding::Blocks(found)) => wanted == found,
            (
                Self::Groups { bits, group_size, symmetric, numbers },
                StoredEncoding::Groups {
                    bits: found_bits,
                    group_size: found_size,
                    symmetric: found_symmetric,
                    scale_type,
                },
            ) => {
                let size = if group_size == 0 { cols.max(1) } else { group_size };
                (bits, size, numbers.scale_type) == (found_bits, found_size, scale_type)
                    && (found_symmetric || !symmetric)
            }
            _ => false,
        }
    }
}

impl From<StoredEncoding> for Target {
    fn from(stored: StoredEncoding) -> Self {
        match stored {
            StoredEncoding::Blocks(encoding) => Self::Block(encoding),
            StoredEncoding::Groups { bits, group_size, symmetric, scale_type } => {
                let numbers = GroupNumbers { scale_type, has_bias: false };
                Self::Groups { bits, group_size, symmetric, numbers }
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("as it is"),
            Self::Block(e) => f.write_str(e.display_name()),
            Self::Groups { bits, group_size: 0, .. } => write!(f, "int{bits} rows"),
            Self::Groups { bits, group_size, .. } => write!(f, "int{bits} g{group_size}"),
        }
    }
}

/// The target of every matrix, and the recipe that leads there.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheme {
    /// The target of the linear modules of the layers.
    pub linear: Target,
    /// The target of the token embedding.
    pub embedding: Target,
    /// The target of the output layer, where it is not the embedding.
    pub output: Target,
    /// The targets of single matrices, which take precedence over the three above.
    pub overrides: BTreeMap<Slot, Target>,
    /// The `general.file_type` of a GGUF file (`enum llama_ftype`); `None` names the encoding of most weights.
    pub file_type: Option<u32>,
    /// The steps that compress the linear modules of the layers and the output layer, tied or not. An embedding that is not
    /// tied is rounded to nearest, and so is the output layer where no step observes inputs.
    pub recipe: Recipe,
    /// The importance of the columns, which weights the search for scales of the recipe `rtn` and of the output layer.
    pub importance: Option<Arc<Importance>>,
}

/// A matrix whose rows cannot be divided into blocks of the encoding that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// The matrix.
    pub slot: Slot,
    /// The number of its rows.
    pub rows: usize,
    /// The number of its columns.
    pub columns: usize,
    /// The encoding that was asked for.
    pub wanted: Encoding,
    /// The encoding that it gets.
    pub made: Encoding,
}

impl Scheme {
    /// Returns the scheme without tuning.
    #[must_use]
    pub fn untuned(&self) -> Self {
        Self { recipe: self.recipe.untuned(), ..self.clone() }
    }

    /// Returns a scheme with the linear modules in `encoding`. Embedding and output layer become Q6_K as in llama.cpp's
    /// mixes, or `encoding` where that has more than 8 bits per weight.
    #[must_use]
    pub fn gguf(encoding: Encoding, recipe: Recipe) -> Self {
        let table = Target::Block(if encoding.bits_per_weight() > 8.0 { encoding } else { Encoding::Q6K });
        Self { embedding: table, output: table, ..Self::pure(encoding, recipe) }
    }

    /// Returns a scheme with every matrix in `encoding`, embedding and output layer too.
    #[must_use]
    pub fn pure(encoding: Encoding, recipe: Recipe) -> Self {
        Self::uniform(Target::Block(encoding), recipe)
    }

    /// Returns a scheme without steps, in which all matrices but these stay as they are.
    pub(crate) fn only(overrides: BTreeMap<Slot, Target>) -> Self {
        Self { overrides, ..Self::uniform(Target::Keep, Recipe { steps: Vec::new() }) }
    }

    fn uniform(target: Target, recipe: Recipe) -> Self {
        Self {
            linear: target,
            embedding: target,
            output: target,
            overrides: BTreeMap::new(),
            file_type: None,
            recipe,
            importance: None,
        }
    }

    /// Returns a scheme with integer groups as GPTQ checkpoints hold them; embedding and output layer stay as they are.
    #[must_use]
    pub fn gptq(bits: u8, group_size: usize, symmetric: bool, recipe: Recipe) -> Self {
        Self { linear: Target::groups(bits, group_size, symmetric), ..Self::uniform(Target::Keep, recipe) }
    }

    /// Returns the scheme with these numbers for the integer groups of the linear modules.
    #[must_use]
    pub fn with_numbers(mut self, wanted: GroupNumbers) -> Self {
        if let Target::Groups { numbers, .. } = &mut self.linear {
            *numbers = wanted;
        }
        self
    }

    /// Returns the scheme with the importance of the columns.
    #[must_use]
    pub fn with_importance(self, importance: Option<Importance>) -> Self {
        Self { importance: importance.map(Arc::new), ..self }
    }

    /// Returns the importance of the columns of a matrix. // `[K]`
    pub(crate) fn importance_of(&self, slot: Slot) -> Option<&[f32]> {
        self.importance.as_deref()?.of(slot)
    }

    /// Returns the target that `module` should have.
    fn wanted(&self, slot: Slot, module: &Module) -> Target {
        match module.kind {
            Kind::Norm | Kind::Positions | Kind::TokenTypes => Target::Keep,
            _ if self.overrides.contains_key(&slot) => self.overrides[&slot],
            Kind::Embedding => self.embedding,
            Kind::Linear if slot.layer.is_some() => self.linear,
            Kind::Linear => self.output,
        }
    }

    /// Returns the target that `module` gets.
    #[must_use]
    pub fn target(&self, tree: &Tree, slot: Slot, module: &Module) -> Target {
        debug_assert!(tree.module(slot).is_some());
        self.wanted(slot, module).for_columns(module.shape[1])
    }

    /// Returns every matrix of `tree` with the target that it gets.
    #[must_use]
    pub fn targets(&self, tree: &Tree) -> BTreeMap<Slot, Target> {
        let matrices = tree.slots().filter_map(|slot| Some((slot, tree.module(slot)?)));
        let matrices = matrices.filter(|(_, module)| matches!(module.kind, Kind::Embedding | Kind::Linear));
        matrices.map(|(slot, module)| (slot, self.target(tree, slot, module))).collect()
    }

    /// Returns the matrices of `tree` that get another encoding than the one that was asked for.
    #[must_use]
    pub fn fallbacks(&self, tree: &Tree) -> Vec<Fallback> {
        let fallback = |slot| {
            let module = tree.module(slot)?;
            match (self.wanted(slot, module), self.target(tree, slot, module)) {
                (Target::Block(wanted), Target::Block(made)) if wanted != made => {
                    let [rows, columns] = [module.shape[0], module.shape[1]];
                    Some(Fallback { slot, rows, columns, wanted, made })
                }
                _ => None,
            }
        };
        tree.slots().filter_map(fallback).collect()
    }

    /// Returns a text with everything that decides the result, for the journal's key.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { linear, embedding, output, overrides, file_type, recipe, importance } = self;
        let importance = importance.as_deref().map_or("", Importance::digest);
        format!("{linear:?} {embedding:?} {output:?} {overrides:?} {file_type:?} {} {importance}", recipe.describe())
    }
}
