//! Export and import of cached cells.

use honelm_backend::{
    Attention, Backend, Batch, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Parent, SequenceId, Sequences,
    Value, block_on,
};
use honelm_tensor::Matrix;

use super::{Failure, OperatorCase, floats, push};
use crate::values::matrix;

/// Two groups, one with a window, and planes of three blocks, whose scales need filling.
const KV_HEADS: usize = 3;
const WIDTH: usize = 32;
const PAGE: usize = 16;
const WINDOW: usize = 20;
const TOKENS: usize = 53;

pub(super) fn cases() -> Vec<OperatorCase> {
    let case = |element| {
        OperatorCase::new(format!("cells of {element:?} survive export and import"), move |b, _| survive(b, element))
    };
    CacheType::ALL.map(case).into()
}

struct World<'b> {
    b: &'b mut dyn Backend,
    cache: Cache,
    sequences: Sequences,
}

impl World<'_> {
    /// Appends rows to a sequence; returns the keys and the attention of both layers.
    fn run(&mut self, id: SequenceId, rows: usize, seed: u64) -> Result<(Matrix, Vec<Matrix>), Failure> {
        let mut batch = Batch::default();
        push(&mut batch, id, &vec![Parent::Previous; rows]);
        self.b.begin(self.sequences.step(&batch)?, &self.cache)?;
        let qkv = [0, 1, 2].map(|i| matrix(rows, KV_HEADS * WIDTH, seed + i));
        let [q, k, v] = [0, 1, 2].map(|i| self.b.input(&qkv[i]));
        let how = Attention { heads: KV_HEADS, scale: 0.2, softcap: None };
        for layer in 0..2 {
            let y = self.b.attention(&q, &k, &v, &self.cache, layer, &how);
            self.b.output(layer as u32, &y);
        }
        let ticket = self.b.submit();
        let [_, k, _] = qkv;
        Ok((k, floats(block_on(self.b.read(ticket))?)?))
    }

    fn export(&mut self, id: SequenceId, layer: usize) -> Result<Vec<u8>, Failure> {
        let pages = self.sequences.pages(id, layer)?.to_vec();
        let Self { b, cache, sequences } = self;
        let ticket = sequences.settle(|step| {
            b.begin(step, cache)?;
            b.export_cells(5, cache, layer, &pages)?;
            Ok::<_, Failure>(b.submit())
        })?;
        match block_on(b.read(ticket))?.pop() {
            Some((5, Value::Cells(cells))) => Ok(cells),
            other => Err(Failure::Wrong(format!("found {other:?}, expected cells"))),
        }
    }

    fn import(&mut self, id: SequenceId, layer: usize, cells: &[u8]) -> Result<(), Failure> {
        let pages = self.sequences.pages(id, layer)?.to_vec();
        let Self { b, cache, sequences } = self;
        let ticket = sequences.settle(|step| {
            b.begin(step, cache)?;
            b.import_cells(cache, layer, &pages, cells)?;
            Ok::<_, Failure>(b.submit())
        })?;
        block_on(b.read(ticket))?;
        Ok(())
    }
}

fn survive(b: &mut dyn Backend, element: CacheType) -> Result<(), Failure> {
    let layer = |group| LayerCache { kv_heads: KV_HEADS, head_width: WIDTH, group };
    let cache = b.create_cache(CacheSpec {
        groups: vec![CacheKind::Full, CacheKind::Window(WINDOW)],
        layers: vec![layer(0), layer(1)],
        page_len: PAGE,
        element,
    })?;
    let plane = layer(0).plane_bytes(element);
    let sequences = Sequences::new(&cache.spec().groups, PAGE, 4096, 0);
    let mut w = World { b, cache, sequences };
    let id = w.sequences.open();
    let (keys, _) = w.run(id, TOKENS, 30)?;
    let fork = w.sequences.fork(id)?;
    let saved = w.sequences.saved(id)?;
    let wrong = |what: String| Err(Failure::Wrong(what));
    if saved.len != TOKENS || saved.dropped != [0, (TOKENS + 1 - WINDOW) / PAGE] {
        return wrong(format!("found the shape {saved:?}"));
    }
    let cells = [w.export(id, 0)?, w.export(id, 1)?];
    if element == CacheType::F32 {
        let first: Vec<u8> = keys.row(7).iter().flat_map(|value| value.to_le_bytes()).collect();
        if cells[0][7 * 2 * plane..][..plane] != first {
            return wrong("the keys of cell 7 are not those that were written".to_owned());
        }
    }
    // Other tokens use free pages, so the restored sequence gets different ones.
    let other = w.sequences.open();
    w.run(other, 40, 60)?;
    let (_, expected) = w.run(id, 1, 90)?;
    w.sequences.close(other)?;
    let World { b, cache, sequences } = &mut w;
    let restored = sequences.open_saved(&saved, |step| {
        b.begin(step, cache)?;
        let ticket = b.submit();
        block_on(b.read(ticket))?;
        Ok::<_, Failure>(())
    })?;
    for (layer, cells) in cells.iter().enumerate() {
        w.import(restored, layer, cells)?;
    }
    for (layer, cells) in cells.iter().enumerate() {
        let held = (TOKENS - saved.dropped[layer] * PAGE) * 2 * plane;
        if w.export(restored, layer)?[..held] != cells[..held] {
            return wrong(format!("layer {layer}: the imported cells are not those that were exported"));
        }
    }
    for (id, what) in [(restored, "the restored sequence"), (fork, "the fork")] {
        if w.run(id, 1, 90)?.1 != expected {
            return wrong(format!("{what} goes on differently"));
        }
    }
    Ok(())
}
