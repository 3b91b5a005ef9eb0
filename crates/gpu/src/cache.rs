//! Keys and values on the device: one buffer per layer, exactly as long as its pages.

use honelm_backend::{BackendError, CacheSpec, CacheType, Edit, LayerCache, Step};

use crate::Gpu;
use crate::memory::{Check, Memory, STORAGE};

/// Returns the words of a cell of one layer: keys and values, each with their scales.
pub(crate) fn cell_words(layer: &LayerCache, element: CacheType) -> usize {
    2 * layer.plane_bytes(element) / 4
}

#[derive(Debug)]
struct Layer {
    buffer: Memory,
    group: wgpu::BindGroup,
}

/// The cache of one model.
#[derive(Debug)]
pub(crate) struct Store {
    spec: CacheSpec,
    /// The number of pages of each group.
    pages: Vec<u32>,
    /// The layers; `None` while a layer has no page.
    layers: Vec<Option<Layer>>,
}

/// A layer's old buffer, to be copied to its new one.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) from: Memory,
    pub(crate) to: wgpu::Buffer,
}

impl Store {
    pub(crate) fn new(spec: CacheSpec) -> Self {
        let layers = spec.layers.iter().map(|_| None).collect();
        Self { pages: vec![0; spec.groups.len()], spec, layers }
    }

    pub(crate) fn group(&self, layer: usize) -> &wgpu::BindGroup {
        &self.layers[layer].as_ref().expect("a step has pages in each layer that it uses").group
    }

    /// Returns the buffer of a layer, if it has pages.
    pub(crate) fn buffer(&self, layer: usize) -> Option<&wgpu::Buffer> {
        self.layers[layer].as_ref().map(|layer| &*layer.buffer)
    }

    /// Returns the bytes of a page of a layer.
    pub(crate) fn page_bytes(&self, layer: usize) -> u64 {
        (cell_words(&self.spec.layers[layer], self.spec.element) * self.spec.page_len * 4) as u64
    }

    /// Returns the bytes of all buffers.
    pub(crate) fn bytes(&self) -> u64 {
        self.layers.iter().flatten().map(|layer| layer.buffer.size()).sum()
    }

    /// Allocates the pages that `step` needs, all or none. Returns the copies that must be made.
    pub(crate) fn reserve(
        &mut self,
        gpu: &Gpu,
        step: &Step,
        checks: &mut Vec<Check>,
    ) -> Result<Vec<Moved>, BackendError> {
        let mut new = Vec::new();
        for (i, layer) in self.spec.layers.iter().enumerate() {
            let wanted = step.groups.get(layer.group).map_or(0, |g| g.page_count);
            if wanted > self.pages[layer.group] {
                let words = cell_words(layer, self.spec.element) * self.spec.page_len;
                let bytes = u64::from(wanted) * words as u64 * 4;
                new.push((i, gpu.allocate("keys and values of a layer", bytes, STORAGE, checks)?));
            }
        }
        let mut moved = Vec::new();
        for (i, buffer) in new {
            let group = gpu.inner.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("keys and values"),
                layout: &gpu.inner.pipelines.cache,
                entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
            });
            let to = (*buffer).clone();
            if let Some(old) = self.layers[i].replace(Layer { buffer, group }) {
                moved.push(Moved { from: old.buffer, to });
            }
        }
        for (pages, group) in self.pages.iter_mut().zip(&step.groups) {
            *pages = (*pages).max(group.page_count);
        }
        Ok(moved)
    }

    /// Returns the edits of a group as pairs of cells (source, target), in order.
    pub(crate) fn pairs(&self, edits: &[Edit], of_group: usize) -> Vec<u32> {
        let len = self.spec.page_len as u32;
        let mut pairs = Vec::new();
        for edit in edits {
            match *edit {
                Edit::CopyPage { group, from, to, cells } if group == of_group => {
                    pairs.extend((0..cells).flat_map(|c| [from * len + c, to * len + c]));
                }
                Edit::CopyCell { group, from, to } if group == of_group => {
                    pairs.extend([from.0 * len + from.1, to.0 * len + to.1]);
                }
                _ => {}
            }
        }
        pairs
    }
}
