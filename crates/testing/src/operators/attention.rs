use std::collections::BTreeMap;
use std::rc::Rc;

use honelm_backend::{
    Attention, Backend, Batch, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Parent, SequenceId, Sequences,
    block_on,
};
use honelm_tensor::Matrix;

use super::{Failure, OperatorCase, Tolerance, compare, floats, push, row_scale};
use crate::naive::{attend, cached};
use crate::values::matrix;

/// The key and value of one token in each layer. // each [G * E]
type Node = Rc<Vec<(Vec<f32>, Vec<f32>)>>;

/// The expected state of a sequence, without cells or pages.
#[derive(Debug, Clone, Default)]
struct Known {
    accepted: Vec<Node>,
    drafts: Vec<(Option<usize>, Node)>,
}

impl Known {
    /// Returns the tokens up to draft `node`, or to the last accepted one.
    fn path(&self, mut node: Option<usize>) -> Vec<Node> {
        let mut tail = Vec::new();
        while let Some(i) = node {
            tail.push(Rc::clone(&self.drafts[i].1));
            node = self.drafts[i].0;
        }
        tail.reverse();
        [&self.accepted[..], &tail].concat()
    }
}

/// The shape of the tested layers. Each cache group has one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub heads: usize,
    pub kv_heads: usize,
    pub width: usize,
    pub element: CacheType,
    pub page_len: usize,
    pub window: usize,
    pub scale: f32,
    pub softcap: Option<f32>,
}

impl Shape {
    pub fn new(heads: usize, kv_heads: usize, width: usize, element: CacheType) -> Self {
        let scale = 1.0 / (width as f32).sqrt();
        Self { heads, kv_heads, width, element, page_len: 16, window: 5, scale, softcap: None }
    }

    pub fn how(&self) -> Attention {
        Attention { heads: self.heads, scale: self.scale, softcap: self.softcap }
    }
}

/// The contents of the keys and values of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    Gaussian,
    Nan,
}

/// A back end with a cache of a full and a window layer, and the expected state of its sequences.
pub(super) struct World<'b> {
    b: &'b mut dyn Backend,
    shape: Shape,
    tolerance: f64,
    sequences: Sequences,
    cache: Cache,
    known: BTreeMap<SequenceId, Known>,
    seed: u64,
}

const LAYERS: usize = 2;

impl<'b> World<'b> {
    pub fn new(b: &'b mut dyn Backend, shape: Shape, tolerance: f64) -> Result<Self, Failure> {
        let layer = |group| LayerCache { kv_heads: shape.kv_heads, head_width: shape.width, group };
        let cache = b.create_cache(CacheSpec {
            groups: vec![CacheKind::Full, CacheKind::Window(shape.window)],
            layers: (0..LAYERS).map(layer).collect(),
            page_len: shape.page_len,
            element: shape.element,
        })?;
        let sequences = Sequences::new(&cache.spec().groups, shape.page_len, 4096, 4);
        Ok(Self { b, shape, tolerance, sequences, cache, known: BTreeMap::new(), seed: 0 })
    }

    pub fn open(&mut self) -> SequenceId {
        let id = self.sequences.open();
        self.known.insert(id, Known::default());
        id
    }

    fn close(&mut self, id: SequenceId) -> Result<(), Failure> {
        self.known.remove(&id);
        Ok(self.sequences.close(id)?)
    }

    fn fork(&mut self, id: SequenceId) -> Result<SequenceId, Failure> {
        let fork = self.sequences.fork(id)?;
        let accepted = self.known[&id].accepted.clone();
        self.known.insert(fork, Known { accepted, drafts: Vec::new() });
        Ok(fork)
    }

    fn truncate(&mut self, id: SequenceId, len: usize) -> Result<(), Failure> {
        let kept = self.sequences.truncate(id, len)?.len;
        let known = self.known.entry(id).or_default();
        known.accepted.truncate(kept);
        known.drafts.clear();
        Ok(())
    }

    pub fn accept(&mut self, id: SequenceId, leaf: usize) -> Result<(), Failure> {
        let known = self.known.entry(id).or_default();
        let mut path = vec![leaf];
        while let Some(parent) = known.drafts[path[path.len() - 1]].0 {
            path.push(parent);
        }
        let cells: Vec<u32> = path.iter().rev().map(|&i| i as u32).collect();
        known.accepted = known.path(Some(leaf));
        known.drafts.clear();
        Ok(self.sequences.accept(id, &cells)?)
    }

    /// Runs queries, keys and values `[N, H * E]`, `[N, G * E]` of both layers on the back end.
    pub fn run(&mut self, parts: &[(SequenceId, Vec<Parent>)], qkv: &[[Matrix; 3]]) -> Result<Vec<Matrix>, Failure> {
        let mut batch = Batch::default();
        for (id, parents) in parts {
            push(&mut batch, *id, parents);
        }
        self.b.begin(self.sequences.step(&batch)?, &self.cache)?;
        for (layer, [q, k, v]) in qkv.iter().enumerate() {
            let [q, k, v] = [q, k, v].map(|x| self.b.input(x));
            let out = self.b.attention(&q, &k, &v, &self.cache, layer, &self.shape.how());
            self.b.output(layer as u32, &out);
        }
        let ticket = self.b.submit();
        floats(block_on(self.b.read(ticket))?)
    }

    /// Draws random queries, keys and values for `rows` rows.
    pub fn draw(&mut self, rows: usize) -> Vec<[Matrix; 3]> {
        let kv = self.shape.kv_heads * self.shape.width;
        let widths = [self.shape.heads * self.shape.width, kv, kv];
        let mut one = |width| {
            self.seed += 1;
            matrix(rows, width, self.seed)
        };
        (0..LAYERS).map(|_| widths.map(&mut one)).collect()
    }

    fn rows(&mut self, parts: &[(SequenceId, Vec<Parent>)], fill: Fill) -> Result<(), Failure> {
        let total = parts.iter().map(|p| p.1.len()).sum();
        let mut qkv = self.draw(total);
        if fill == Fill::Nan {
            for layer in &mut qkv {
                layer[1].data.fill(f32::NAN);
                layer[2].data.fill(f32::NAN);
            }
        }
        let found = self.run(parts, &qkv)?;
        let mut paths = Vec::new();
        for (id, parents) in parts {
            let first = paths.len();
            let known = self.known.entry(*id).or_default();
            let pending = known.drafts.len();
            for parent in parents {
                let parent = match *parent {
                    Parent::Previous => known.drafts.len().checked_sub(1),
                    Parent::Accepted => None,
                    Parent::Row(i) => Some(pending + i as usize - first),
                    Parent::Draft(i) => Some(i as usize),
                };
                let kv = |m: &Matrix| cached(m.row(paths.len()), self.shape.width, self.shape.element);
                let node = qkv.iter().map(|[_, k, v]| (kv(k), kv(v))).collect();
                known.drafts.push((parent, Rc::new(node)));
                paths.push(known.path(Some(known.drafts.len() - 1)));
            }
            if pending == 0 && parents.iter().all(|p| *p == Parent::Previous) {
                known.accepted = known.path(Some(known.drafts.len() - 1));
                known.drafts.clear();
            }
        }
        if fill == Fill::Nan {
            return Ok(());
        }
        for layer in 0..LAYERS {
            let expected = self.expected(layer, &qkv[layer][0], &paths);
            compare(&found[layer], &expected, &row_scale(&expected), self.tolerance).map_err(|e| match e {
                Failure::Wrong(what) => Failure::Wrong(format!("{:?}, layer {layer}: {what}", self.shape)),
                other => other,
            })?;
        }
        Ok(())
    }

    fn expected(&self, layer: usize, q: &Matrix, paths: &[Vec<Node>]) -> Matrix {
        let Shape { heads, kv_heads, width, window, .. } = self.shape;
        let mut out = Matrix::zeros(q.rows, q.cols);
        for (row, path) in paths.iter().enumerate() {
            let low = if layer == 1 { path.len().saturating_sub(window) } else { 0 };
            for head in 0..heads {
                let shared = head / (heads / kv_heads) * width..(head / (heads / kv_heads) + 1) * width;
                let cells: Vec<(&[f32], &[f32])> = path[low..]
                    .iter()
                    .map(|node| (&node[layer].0[shared.clone()], &node[layer].1[shared.clone()]))
                    .collect();
                let own = head * width..(head + 1) * width;
                attend(&q.row(row)[own.clone()], &cells, &self.shape.how(), &mut out.row_mut(row)[own]);
            }
        }
        out
    }

    fn chain(&mut self, id: SequenceId, rows: usize) -> Result<(), Failure> {
        self.rows(&[(id, vec![Parent::Previous; rows])], Fill::Gaussian)
    }
}

/// Runs a prefill, then single tokens, across pages.
fn prefill_then_decode(w: &mut World) -> Result<(), Failure> {
    let id = w.open();
    w.chain(id, 37)?;
    for _ in 0..4 {
        w.chain(id, 1)?;
    }
    w.chain(id, 15)?;
    w.chain(id, 2)
}

/// Runs several sequences in one step, forks that share pages, drafts as trees, acceptance and truncation.
fn ragged_forked_drafted(w: &mut World) -> Result<(), Failure> {
    use Parent::{Accepted, Draft, Previous, Row};
    let (a, b) = (w.open(), w.open());
    w.rows(&[(a, vec![Previous; 19]), (b, vec![Previous; 3])], Fill::Gaussian)?;
    let c = w.fork(a)?;
    w.rows(&[(c, vec![Previous; 2]), (a, vec![Previous]), (b, vec![Previous; 14])], Fill::Gaussian)?;
    // Two branches, one of which continues in a second round, beside a plain row.
    w.rows(&[(b, vec![Previous]), (a, vec![Accepted, Row(1), Row(2), Accepted, Row(4)])], Fill::Gaussian)?;
    w.rows(&[(a, vec![Draft(4), Previous, Draft(1), Draft(1)])], Fill::Gaussian)?;
    let d = w.fork(a)?;
    w.accept(a, 6)?;
    w.rows(&[(d, vec![Previous; 2]), (a, vec![Previous; 3])], Fill::Gaussian)?;
    w.truncate(a, 22)?;
    w.rows(&[(a, vec![Previous]), (c, vec![Previous; 20])], Fill::Gaussian)?;
    w.close(c)?;
    w.chain(d, 9)
}

/// Runs more than one span of 256 positions.
fn long(w: &mut World) -> Result<(), Failure> {
    let (a, b) = (w.open(), w.open());
    w.chain(a, 255)?;
    w.rows(&[(a, vec![Parent::Previous; 2]), (b, vec![Parent::Previous; 40])], Fill::Gaussian)?;
    w.chain(a, 17)?;
    w.chain(a, 300)?;
    w.chain(a, 1)?;
    w.rows(&[(a, vec![Parent::Accepted, Parent::Accepted, Parent::Row(1)])], Fill::Gaussian)
}

/// Checks that the contents of freed pages, including NaN, have no effect.
fn reused_pages(w: &mut World) -> Result<(), Failure> {
    let a = w.open();
    w.rows(&[(a, vec![Parent::Previous; 50])], Fill::Nan)?;
    w.close(a)?;
    let b = w.open();
    w.chain(b, 3)?;
    w.chain(b, 1)?;
    w.chain(b, 20)?;
    // Rejected drafts remain in cells of the sequence itself.
    w.rows(&[(b, vec![Parent::Accepted, Parent::Previous])], Fill::Nan)?;
    w.truncate(b, 24)?;
    w.chain(b, 1)
}

type Story = (&'static str, fn(&mut World) -> Result<(), Failure>);

pub(super) fn cases() -> Vec<OperatorCase> {
    let stories: [Story; 4] = [
        ("prefill then decode", prefill_then_decode),
        ("ragged, forked, drafted", ragged_forked_drafted),
        ("long", long),
        ("reused pages", reused_pages),
    ];
    let mut shapes = Vec::new();
    for (element, widths) in [
        (CacheType::F32, [8, 20, 64]),
        (CacheType::F16, [4, 64, 128]),
        (CacheType::Q8_0, [32, 64, 96]),
        (CacheType::Q4_0, [32, 256, 96]),
        (CacheType::Q4_0Plain, [32, 64, 96]),
    ] {
        for (width, (heads, kv_heads)) in widths.into_iter().zip([(4, 2), (6, 1), (3, 3)]) {
            shapes.push(Shape::new(heads, kv_heads, width, element));
        }
    }
    let base = Shape::new(4, 2, 32, CacheType::F16);
    shapes.push(Shape { page_len: 256, window: 300, ..base });
    shapes.push(Shape { page_len: 32, window: 1, ..base });
    // The scores are so far apart that an unguarded exponential overflows.
    shapes.push(Shape { scale: 40.0, ..base });
    shapes.push(Shape { scale: 2.0, softcap: Some(10.0), ..base });
    let mut cases = Vec::new();
    for shape in shapes {
        for (name, story) in stories {
            let name = format!("attention {name}, {shape:?}");
            cases.push(OperatorCase::new(name, move |b, t: &Tolerance| {
                // The scale also multiplies the rounding error of a score.
                let sharp = f64::from(shape.scale * (shape.width as f32).sqrt()).max(1.0);
                story(&mut World::new(b, shape, t.attention * sharp)?)
            }));
        }
    }
    cases
}
