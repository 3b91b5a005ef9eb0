use std::fmt;

use honelm_blocks::{Encoding, Fit, Grid, IntGroups, ScaleType};
use honelm_model::{Kind, Module, Slot, StoredEncoding, Tree};

use crate::Damping;

/// What a matrix becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// It stays as it is in the checkpoint.
    Keep,
    /// Row-wise blocks or floats.
    Block(Encoding),
    /// Integer groups.
    Groups {
        /// Bits a code.
        bits: u8,
        /// Columns a group; 0 for the whole row.
        group_size: usize,
        /// Zero point fixed in the middle.
        symmetric: bool,
    },
}

impl Target {
    /// The target that a matrix of `cols` columns can have: encodings whose blocks do not fill its rows give way to
    /// the next larger one, as in llama.cpp.
    #[must_use]
    pub fn for_columns(self, cols: usize) -> Self {
        match self {
            Self::Block(encoding) => Self::Block(encoding.for_columns(cols)),
            other => other,
        }
    }

    /// Whether a matrix of `cols` columns that is stored so has this target; always where the target is to stay as it is.
    #[must_use]
    pub fn is_met_by(self, stored: StoredEncoding, cols: usize) -> bool {
        match (self, stored) {
            (Self::Keep, _) => true,
            (Self::Block(wanted), StoredEncoding::Blocks(found)) => wanted == found,
            (
                Self::Groups { bits, group_size, symmetric },
                StoredEncoding::Groups { bits: found_bits, group_size: found_size, symmetric: found_symmetric, .. },
            ) => {
                let size = if group_size == 0 { cols.max(1) } else { group_size };
                bits == found_bits && size == found_size && (found_symmetric || !symmetric)
            }
            _ => false,
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

/// How matrices of linear layers are rounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Round to nearest, every group on its own.
    Rtn,
    /// GPTQ's error feedback where the target is a grid; search weighted by diag(H) where it is not.
    Gptq {
        /// Damping of H.
        damping: Damping,
        /// Columns by falling diag(H), groups fixed before (static).
        act_order: bool,
        /// Search scales (and zero points) by weighted error rather than taking them from the extremes.
        search: bool,
    },
}

/// What every matrix of a model becomes, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scheme {
    /// Linear modules of the layers.
    pub linear: Target,
    /// Token embedding.
    pub embedding: Target,
    /// Output layer, where it is not the embedding.
    pub output: Target,
    /// Rounding of the linear layers.
    pub method: Method,
}

/// A matrix whose rows are no whole blocks of the encoding that it is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// The matrix.
    pub slot: Slot,
    /// Its rows.
    pub rows: usize,
    /// Its columns.
    pub columns: usize,
    /// What it is to become.
    pub wanted: Encoding,
    /// What it becomes.
    pub made: Encoding,
}

impl Scheme {
    /// Linear layers in `encoding`; embedding and output at Q6_K as llama.cpp's mixes have them, at Q8_0 where the linear
    /// layers are, untouched beside floats.
    #[must_use]
    pub fn gguf(encoding: Encoding, method: Method) -> Self {
        let table = Target::Block(if encoding.bits_per_weight() > 8.0 { encoding } else { Encoding::Q6K });
        Self { linear: Target::Block(encoding), embedding: table, output: table, method }
    }

    /// Integer groups as GPTQ checkpoints hold them, embedding and output untouched.
    #[must_use]
    pub fn gptq(bits: u8, group_size: usize, symmetric: bool, method: Method) -> Self {
        let linear = Target::Groups { bits, group_size, symmetric };
        Self { linear, embedding: Target::Keep, output: Target::Keep, method }
    }

    /// What `module` is to become.
    fn wanted(&self, slot: Slot, module: &Module) -> Target {
        match module.kind {
            Kind::Norm | Kind::Positions => Target::Keep,
            Kind::Embedding => self.embedding,
            Kind::Linear if slot.layer.is_some() => self.linear,
            Kind::Linear => self.output,
        }
    }

    /// What `module` becomes.
    #[must_use]
    pub fn target(&self, tree: &Tree, slot: Slot, module: &Module) -> Target {
        debug_assert!(tree.module(slot).is_some());
        self.wanted(slot, module).for_columns(module.shape[1])
    }

    /// Matrices of `tree` that become another encoding than the one that they are to become.
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

    /// Everything that decides the result, for the journal's key.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{self:?}")
    }
}

impl Method {
    /// GPTQ as it is used by default.
    #[must_use]
    pub fn gptq() -> Self {
        Self::Gptq { damping: Damping::default(), act_order: true, search: true }
    }

    /// Whether it needs calibration text.
    #[must_use]
    pub fn needs_calibration(&self) -> bool {
        matches!(self, Self::Gptq { .. })
    }

    fn fit(&self) -> Fit {
        match self {
            Self::Gptq { search: true, .. } => Fit::Search,
            _ => Fit::MinMax,
        }
    }
}

/// The grid that a target rounds onto.
pub(crate) enum AnyGrid {
    Blocks(&'static dyn Grid),
    Groups(IntGroups),
}

impl std::ops::Deref for AnyGrid {
    type Target = dyn Grid;
    fn deref(&self) -> &(dyn Grid + 'static) {
        match self {
            Self::Blocks(grid) => *grid,
            Self::Groups(grid) => grid,
        }
    }
}

/// The grid of a target; `None` where it is made by search or by conversion.
pub(crate) fn grid(target: Target, method: &Method, scale_type: ScaleType) -> Option<AnyGrid> {
    match target {
        Target::Keep => None,
        Target::Block(e) => e.grid().map(AnyGrid::Blocks),
        Target::Groups { bits, group_size, symmetric } => {
            Some(AnyGrid::Groups(IntGroups { bits, group_size, symmetric, scale_type, fit: method.fit() }))
        }
    }
}
