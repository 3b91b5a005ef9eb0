//! The recording of a step before it is submitted: dispatches in order, their parameters, the step's numbers, the results to read.

use std::sync::Arc;

use honelm_backend::{BackendError, Cache, Tensor};

use crate::cache::Moved;
use crate::kernel::Kernel;
use crate::memory::Memory;
use crate::pipelines::SLOT;

/// The buffer that a dispatch uses beside the step's own.
#[derive(Debug, Clone)]
pub(crate) enum Bound {
    Nothing,
    /// A buffer of weights, by its number.
    Weight(usize),
    /// A layer of a cache.
    Cache(Cache, usize),
}

#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) bound: Bound,
    /// The slot of its parameters, in units of [`SLOT`].
    pub(crate) slot: u32,
    pub(crate) grid: [u32; 2],
}

/// A result to be read.
#[derive(Debug)]
pub(crate) enum Pinned {
    Floats(Tensor),
    /// The first slot of the ring of sampled tokens, and the number of slots.
    Tokens(u32, u32),
    /// Pages of a layer of a cache.
    Cells(Cache, usize, Vec<u32>),
}

/// Cells on their way into pages of a layer of a cache.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) from: Memory,
    pub(crate) cache: Cache,
    pub(crate) layer: usize,
    pub(crate) pages: Vec<u32>,
}

/// A cache group of the step; the fields are offsets into [`Recording::words`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    /// The cell of each row, counted over all pages.
    pub(crate) cells: u32,
    /// Five words per row.
    pub(crate) seen: u32,
    pub(crate) pages: u32,
    pub(crate) extra: u32,
    /// The largest number of cells that a row sees.
    pub(crate) most: usize,
}

/// The step that operations refer to.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) rows: usize,
    /// The position of the tokens in [`Recording::words`].
    pub(crate) tokens: u32,
    /// The tokens that the host knows.
    pub(crate) known: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) groups: Vec<Group>,
    /// The positions of the rows' rotations, by weight and the bits of the magnitude.
    pub(crate) rotations: Vec<((u32, u32), u32)>,
}

#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) commands: Vec<Command>,
    pub(crate) params: Vec<u32>,
    pub(crate) words: Vec<u32>,
    pub(crate) frame: Frame,
    pub(crate) pinned: Vec<(u32, Pinned)>,
    /// Rows and their slots of the ring.
    pub(crate) sampled: Vec<(u32, u32)>,
    pub(crate) moved: Vec<Moved>,
    pub(crate) imported: Vec<Imported>,
    pub(crate) failure: Option<BackendError>,
    /// The first command that lacks memory; commands from here on are not run.
    pub(crate) cut: Option<usize>,
}

impl Recording {
    /// Returns `true` if nothing waits to be submitted.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.moved.is_empty() && self.imported.is_empty()
    }

    /// Appends numbers and returns the position of the first.
    pub(crate) fn append(&mut self, words: impl IntoIterator<Item = u32>) -> u32 {
        let at = self.words.len() as u32;
        self.words.extend(words);
        at
    }

    /// Stores the parameters of a dispatch and returns their slot.
    pub(crate) fn slot(&mut self, params: &[u32]) -> u32 {
        const WORDS: usize = SLOT / size_of::<u32>();
        debug_assert!(params.len() <= WORDS, "{} parameters", params.len());
        let slot = self.params.len() / WORDS;
        self.params.extend_from_slice(params);
        self.params.resize((slot + 1) * WORDS, 0);
        slot as u32
    }

    /// Fails the step for lack of memory. Later commands are not run.
    pub(crate) fn cut(&mut self, error: BackendError) {
        self.cut.get_or_insert(self.commands.len());
        self.fail(error);
    }

    /// Records a failure; the first of the step is kept.
    pub(crate) fn fail(&mut self, error: BackendError) {
        self.failure.get_or_insert(error);
    }
}
