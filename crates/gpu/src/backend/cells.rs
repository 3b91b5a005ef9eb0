//! Export and import of cached cells. A layer's buffer holds its pages in the form of
//! [`honelm_backend::Backend::export_cells`].

use honelm_backend::{BackendError, Cache};
use wgpu::{BufferUsages, CommandEncoder};

use super::GpuBackend;
use crate::memory::Memory;
use crate::recording::Imported;

impl GpuBackend {
    /// Uploads cells, which [`GpuBackend::place_cells`] copies to their pages.
    pub(super) fn upload_cells(
        &mut self,
        cache: &Cache,
        layer: usize,
        pages: &[u32],
        cells: &[u8],
    ) -> Result<(), BackendError> {
        let wanted = self.caches.get(cache.guard()).page_bytes(layer) * pages.len() as u64;
        assert_eq!(cells.len() as u64, wanted, "bytes of {} pages", pages.len());
        let usage = BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let from = self.gpu.allocate("imported keys and values", wanted, usage, &mut self.checks)?;
        self.gpu.inner.queue.write_buffer(&from, 0, cells);
        self.recording.imported.push(Imported { from, cache: cache.clone(), layer, pages: pages.to_vec() });
        Ok(())
    }

    /// Encodes the copies of imported cells to their pages.
    pub(super) fn place_cells(&self, imported: Imported, encoder: &mut CommandEncoder, retired: &mut Vec<Memory>) {
        let store = self.caches.get(imported.cache.guard());
        let bytes = store.page_bytes(imported.layer);
        if let Some(buffer) = store.buffer(imported.layer) {
            for (i, &page) in imported.pages.iter().enumerate() {
                let (from, to) = (i as u64 * bytes, u64::from(page) * bytes);
                encoder.copy_buffer_to_buffer(&imported.from, from, buffer, to, Some(bytes));
            }
        }
        retired.push(imported.from);
    }
}
