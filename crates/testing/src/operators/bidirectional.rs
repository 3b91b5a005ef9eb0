//! Attention of encoders: every row of a text sees all of its rows.

use honelm_backend::{Backend, Batch, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Sequences, Want, block_on};
use honelm_tensor::Matrix;

use super::attention::Shape;
use super::{Failure, OperatorCase, Tolerance, compare, floats, row_scale};
use crate::naive::{attend, cached};
use crate::values::matrix;

/// The lengths of the texts of each step: of one token, of whole and broken pages, of more than one span of 256 positions.
const STEPS: [&[usize]; 3] = [&[7, 1, 37], &[300, 16], &[2, 64, 5, 1]];

/// A back end with a bidirectional layer.
struct World<'b> {
    b: &'b mut dyn Backend,
    shape: Shape,
    sequences: Sequences,
    cache: Cache,
}

impl<'b> World<'b> {
    fn new(b: &'b mut dyn Backend, shape: Shape) -> Result<Self, Failure> {
        let cache = b.create_cache(CacheSpec {
            groups: vec![CacheKind::Bidirectional],
            layers: vec![LayerCache { kv_heads: shape.kv_heads, head_width: shape.width, group: 0 }],
            page_len: shape.page_len,
            element: shape.element,
        })?;
        let sequences = Sequences::new(&cache.spec().groups, shape.page_len, 4096, 0);
        Ok(Self { b, shape, sequences, cache })
    }

    /// Runs one step with a new sequence for each length, and closes the sequences.
    fn run(&mut self, lengths: &[usize], [q, k, v]: &[Matrix; 3]) -> Result<Matrix, Failure> {
        let mut batch = Batch::default();
        let ids: Vec<_> = lengths.iter().map(|_| self.sequences.open()).collect();
        for (&id, &len) in ids.iter().zip(lengths) {
            batch.extend(id, &vec![0; len], Want::NOTHING);
        }
        self.b.begin(self.sequences.step(&batch)?, &self.cache)?;
        let [q, k, v] = [q, k, v].map(|x| self.b.input(x));
        let out = self.b.attention(&q, &k, &v, &self.cache, 0, &self.shape.how());
        self.b.output(0, &out);
        let ticket = self.b.submit();
        for id in ids {
            self.sequences.close(id)?;
        }
        let mut found = floats(block_on(self.b.read(ticket))?)?;
        found.pop().ok_or_else(|| Failure::Wrong("no output".to_owned()))
    }

    fn expected(&self, lengths: &[usize], [q, k, v]: &[Matrix; 3]) -> Matrix {
        let Shape { heads, kv_heads, width, element, .. } = self.shape;
        let (k, v) = (rounded(k, width, element), rounded(v, width, element));
        let mut out = Matrix::zeros(q.rows, q.cols);
        let mut first = 0;
        for &len in lengths {
            for (row, head) in (first..first + len).flat_map(|row| (0..heads).map(move |head| (row, head))) {
                let shared = head / (heads / kv_heads) * width..(head / (heads / kv_heads) + 1) * width;
                let seen = (first..first + len).map(|at| (&k[at][shared.clone()], &v[at][shared.clone()]));
                let own = head * width..(head + 1) * width;
                attend(
                    &q.row(row)[own.clone()],
                    &seen.collect::<Vec<_>>(),
                    &self.shape.how(),
                    &mut out.row_mut(row)[own],
                );
            }
            first += len;
        }
        out
    }
}

/// Returns the rows of `x` as a cache of this type holds them.
fn rounded(x: &Matrix, width: usize, element: CacheType) -> Vec<Vec<f32>> {
    x.iter_rows().map(|row| cached(row, width, element)).collect()
}

/// Runs texts of several lengths in pages that held others, including NaN.
fn texts(b: &mut dyn Backend, shape: Shape, tolerance: f64) -> Result<(), Failure> {
    let mut world = World::new(b, shape)?;
    let kv = shape.kv_heads * shape.width;
    for (step, lengths) in STEPS.iter().enumerate() {
        let rows = lengths.iter().sum();
        let seed = 3 * step as u64;
        let qkv =
            [matrix(rows, shape.heads * shape.width, seed), matrix(rows, kv, seed + 1), matrix(rows, kv, seed + 2)];
        let found = world.run(lengths, &qkv)?;
        let expected = world.expected(lengths, &qkv);
        compare(&found, &expected, &row_scale(&expected), tolerance)?;
        let mut broken = qkv;
        broken[1..].iter_mut().for_each(|x| x.data.fill(f32::NAN));
        world.run(lengths, &broken)?;
    }
    Ok(())
}

pub(super) fn cases() -> Vec<OperatorCase> {
    let base = Shape::new(12, 12, 32, CacheType::F16);
    let shapes = [
        base,
        Shape::new(12, 12, 32, CacheType::F32),
        Shape::new(4, 4, 32, CacheType::Q8_0),
        Shape::new(4, 4, 64, CacheType::Q4_0),
        Shape::new(3, 3, 20, CacheType::F32),
        Shape::new(6, 1, 64, CacheType::F16),
        Shape { page_len: 64, ..base },
        Shape { page_len: 256, softcap: Some(10.0), ..base },
    ];
    let case = |shape: Shape| {
        let run = move |b: &mut dyn Backend, t: &Tolerance| texts(b, shape, t.attention);
        OperatorCase::new(format!("bidirectional attention, {shape:?}"), run)
    };
    shapes.into_iter().map(case).collect()
}
