//! Cached cells as bytes, in the form of [`honelm_backend::Backend::export_cells`].

use bytemuck::Pod;

use crate::cache::{Grid, Page, Plane, Store};

impl<T: Pod> Grid<T> {
    fn export(&self, cell: usize, out: &mut Vec<u8>) {
        for i in 0..self.width {
            out.extend_from_slice(bytemuck::bytes_of(&self.data[cell * self.cell + i * self.value]));
        }
    }

    /// Reads the values of a cell from the front of `bytes`.
    fn import(&mut self, cell: usize, bytes: &mut &[u8]) {
        for i in 0..self.width {
            let (value, rest) = bytes.split_at(size_of::<T>());
            self.data[cell * self.cell + i * self.value] = bytemuck::pod_read_unaligned(value);
            *bytes = rest;
        }
    }
}

/// Writes the cell of one plane of all heads, and fills it up to `len` bytes.
fn export_plane<'a>(planes: impl Iterator<Item = &'a Plane> + Clone, cell: usize, len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    for plane in planes.clone() {
        match plane {
            Plane::F16(grid) => grid.export(cell, out),
            Plane::F32(grid) => grid.export(cell, out),
            Plane::Blocks { codes, .. } => codes.export(cell, out),
        }
    }
    for plane in planes {
        if let Plane::Blocks { scales, .. } = plane {
            scales.export(cell, out);
        }
    }
    out.resize(end, 0);
}

/// Reads the cell of one plane of all heads. `plane` returns the plane of a page.
fn import_plane(pages: &mut [&mut Page], plane: impl Fn(&mut Page) -> &mut Plane, cell: usize, mut bytes: &[u8]) {
    for page in pages.iter_mut() {
        match plane(page) {
            Plane::F16(grid) => grid.import(cell, &mut bytes),
            Plane::F32(grid) => grid.import(cell, &mut bytes),
            Plane::Blocks { codes, .. } => codes.import(cell, &mut bytes),
        }
    }
    for page in pages.iter_mut() {
        if let Plane::Blocks { scales, .. } = plane(page) {
            scales.import(cell, &mut bytes);
        }
    }
}

impl Store {
    /// Returns the cells of pages of a layer.
    pub(crate) fn export(&self, layer: usize, pages: &[u32]) -> Vec<u8> {
        let (heads, len) = (&self.layers[layer], self.spec.layers[layer].plane_bytes(self.spec.element));
        let mut out = Vec::with_capacity(pages.len() * self.spec.page_len * 2 * len);
        for &page in pages {
            let of_heads = heads.iter().map(|head| &head.pages[page as usize]);
            for cell in 0..self.spec.page_len {
                export_plane(of_heads.clone().map(|page| &page.k), cell, len, &mut out);
                export_plane(of_heads.clone().map(|page| &page.v), cell, len, &mut out);
            }
        }
        out
    }

    /// Replaces the cells of pages of a layer.
    pub(crate) fn import(&mut self, layer: usize, pages: &[u32], cells: &[u8]) {
        let len = self.spec.layers[layer].plane_bytes(self.spec.element);
        let wanted = pages.len() * self.spec.page_len * 2 * len;
        assert_eq!(cells.len(), wanted, "bytes of {} pages", pages.len());
        let mut planes = cells.chunks_exact(len.max(1));
        for &page in pages {
            let heads = self.layers[layer].iter_mut();
            let mut of_heads: Vec<&mut Page> = heads.map(|head| &mut head.pages[page as usize]).collect();
            for cell in 0..self.spec.page_len {
                import_plane(&mut of_heads, |page| &mut page.k, cell, planes.next().unwrap_or_default());
                import_plane(&mut of_heads, |page| &mut page.v, cell, planes.next().unwrap_or_default());
            }
        }
    }
}
