//! Kernels that are requested before they are needed.

use honelm_backend::{BackendError, Weight};

use super::GpuBackend;
use crate::Gpu;
use crate::pack::Layout;
use crate::ranges::Range;
use crate::weights::{Matrix, Piece, Stored};

impl GpuBackend {
    /// Creates a back end that runs no step, but requests the kernels of all operations that are recorded on it. The device then
    /// builds them, for all its back ends, while the weights of a model are still being read. Its own weights and caches take no
    /// memory: matrices are declared ([`GpuBackend::declare`]), and vectors are not stored.
    ///
    /// # Errors
    /// The errors of [`GpuBackend::new`].
    pub fn for_kernels(gpu: &Gpu) -> Result<Self, BackendError> {
        let mut backend = Self::new(gpu)?;
        backend.only_requests = true;
        Ok(backend)
    }

    /// Returns a matrix `[rows, cols]` without contents.
    ///
    /// # Panics
    /// Panics on a back end that runs steps, which would read beyond its buffers.
    pub fn declare(&mut self, layout: Layout, [rows, cols]: [usize; 2]) -> Weight {
        assert!(self.only_requests, "a weight without contents on a back end that runs steps");
        let nowhere = Range { start: 0, len: 0 };
        let pieces = vec![Piece { chunk: 0, range: nowhere, first_row: 0, rows }];
        let stored = Stored::Matrix(Matrix { layout, pieces, bias: None, order: None, filled: rows });
        Weight::new(self.weights.insert(stored), rows, cols)
    }

    /// Returns the layouts of the weights, each once. The known-answer test needs them for a loaded model.
    #[must_use]
    pub fn layouts(&self) -> Vec<Layout> {
        let mut layouts = Vec::new();
        for stored in self.weights.iter() {
            if let Stored::Matrix(matrix) = stored
                && !layouts.contains(&matrix.layout)
            {
                layouts.push(matrix.layout);
            }
        }
        layouts
    }
}
