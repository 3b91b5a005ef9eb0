use honelm_backend::{Attention, Backend, Cache, CacheType, hadamard};
use honelm_blocks::Encoding;
use honelm_tensor::Matrix;

use crate::common::{Rows, assert_close, backend, cache_spec, instruction_sets, random, same_bits, step, values};
use honelm_cpu::reference::{self, Seen};
use honelm_cpu::{Compute, CpuBackend, Isa};

/// The keys, values and queries of every position of a sequence.
struct Sequence {
    q: Matrix,
    k: Matrix,
    v: Matrix,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    width: usize,
    page_len: usize,
    element: CacheType,
}

impl Shape {
    fn sequence(self, positions: usize, seed: u64) -> Sequence {
        let kv = self.kv_heads * self.width;
        let q = random(positions, self.heads * self.width, seed);
        Sequence { q, k: random(positions, kv, seed + 1), v: random(positions, kv, seed + 2) }
    }

    fn cache(self, b: &mut CpuBackend) -> Cache {
        b.create_cache(cache_spec(self.kv_heads, self.width, self.page_len, self.element)).unwrap()
    }

    /// Returns the values after rounding to the cache's number type.
    fn kept(self, x: &Matrix) -> Matrix {
        let encoding = match self.element {
            CacheType::F32 => Encoding::F32,
            CacheType::F16 => Encoding::F16,
            CacheType::Q8_0 => Encoding::Q8_0,
            CacheType::Q4_0 | CacheType::Q4_0Plain => Encoding::Q4_0,
        };
        let mut kept = x.clone();
        for head in kept.data.chunks_exact_mut(self.width) {
            let mut bytes = vec![0; self.width / encoding.block_len() * encoding.block_bytes()];
            let rotate = |head: &mut [f32]| {
                if self.element.is_rotated() {
                    hadamard(head)
                }
            };
            rotate(head);
            encoding.quantize_row(head, None, &mut bytes).unwrap();
            encoding.dequantize_row(&bytes, head);
            rotate(head);
        }
        kept
    }
}

const TOLERANCE: f32 = 3e-6;
const HOW: Attention = Attention { heads: 0, scale: 0.25, softcap: None };

/// Runs `rows` on the cache. Rows of sequence i take their values from `sequences[i]` at their cells.
fn attend(
    b: &mut CpuBackend,
    cache: &Cache,
    s: Shape,
    options: Attention,
    sequences: &[Sequence],
    rows: &[Rows],
) -> Matrix {
    let pages = 3usize.max(1040 / s.page_len + 1);
    let pages = if pages.is_multiple_of(5) { pages + 1 } else { pages };
    b.begin(step(rows, pages, sequences.len()), cache).unwrap();
    let gather = |of: fn(&Sequence) -> &Matrix| {
        let cells = rows.iter().flat_map(|r| r.cells.iter().map(move |c| of(&sequences[r.sequence]).row(*c as usize)));
        let cells: Vec<&[f32]> = cells.collect();
        Matrix::new(cells.len(), of(&sequences[0]).cols, cells.concat())
    };
    let (q, k, v) = (b.input(&gather(|s| &s.q)), b.input(&gather(|s| &s.k)), b.input(&gather(|s| &s.v)));
    let out = b.attention(&q, &k, &v, cache, 0, &Attention { heads: s.heads, ..options });
    values(b, &out)
}

fn expected(s: Shape, options: Attention, sequences: &[Sequence], rows: &[Rows]) -> Matrix {
    let mut seen = Vec::new();
    let mut q = Vec::new();
    for part in rows {
        let sequence = &sequences[part.sequence];
        for (cell, (first, end, extra)) in part.cells.iter().zip(&part.seen) {
            let cells: Vec<usize> = (*first..*end).chain(extra.iter().copied()).map(|c| c as usize).collect();
            let take =
                |m: &Matrix| Matrix::new(cells.len(), m.cols, cells.iter().flat_map(|c| m.row(*c).to_vec()).collect());
            seen.push(Seen { k: s.kept(&take(&sequence.k)), v: s.kept(&take(&sequence.v)) });
            q.extend_from_slice(sequence.q.row(*cell as usize));
        }
    }
    let q = Matrix::new(seen.len(), s.heads * s.width, q);
    reference::attention(&q, &seen, s.kv_heads, &Attention { heads: s.heads, ..options })
}

#[test]
fn matches_the_reference() {
    let shapes = [(4, 2, 64, 256), (3, 1, 24, 16), (8, 8, 16, 1), (2, 2, 80, 8), (6, 2, 32, 64), (16, 1, 8, 128)];
    // A prefill beside a short one, decoding of both, a window, and rows that cross the border of a chunk.
    let steps = [
        vec![Rows::chain(0, 0, 230, 1000), Rows::chain(1, 0, 3, 1000)],
        vec![Rows::chain(0, 230, 1, 1000), Rows::chain(1, 3, 1, 2)],
        vec![Rows::chain(0, 231, 30, 37)],
        vec![Rows::chain(1, 4, 2, 1000), Rows::chain(0, 261, 100, 1000)],
    ];
    for (i, (heads, kv_heads, width, page_len)) in shapes.into_iter().enumerate() {
        for element in CacheType::ALL {
            if width % element.block_len() != 0 {
                continue;
            }
            let s = Shape { heads, kv_heads, width, page_len, element };
            let sequences = [s.sequence(361, 1), s.sequence(6, 4)];
            let options = Attention { softcap: (i == 1).then_some(3.0), ..HOW };
            let wanted: Vec<Matrix> = steps.iter().map(|rows| expected(s, options, &sequences, rows)).collect();
            for isa in instruction_sets() {
                let mut b = backend(isa, 2, Compute::Fast);
                let cache = s.cache(&mut b);
                for (n, rows) in steps.iter().enumerate() {
                    let found = attend(&mut b, &cache, s, options, &sequences, rows);
                    assert_close(&found, &wanted[n], TOLERANCE, &format!("{isa} {s:?} step {n}"));
                }
            }
        }
    }
}

#[test]
fn rows_do_not_depend_on_neighbours_threads_or_the_way_into_the_cache() {
    for isa in instruction_sets() {
        for element in [CacheType::F16, CacheType::F32, CacheType::Q8_0, CacheType::Q4_0] {
            let s = Shape { heads: 8, kv_heads: 2, width: 32, page_len: 64, element };
            let sequences = [s.sequence(560, 10), s.sequence(500, 20)];
            let mut whole = backend(isa, 1, Compute::Fast);
            let cache = s.cache(&mut whole);
            let rows = [Rows::chain(0, 0, 540, 10_000), Rows::chain(1, 0, 500, 10_000)];
            let all = attend(&mut whole, &cache, s, HOW, &sequences, &rows);
            let mut parts = backend(isa, 3, Compute::Fast);
            let cache = s.cache(&mut parts);
            let mut done = 0;
            for count in [1, 16, 240, 3, 1, 262, 16, 1] {
                let rows = [Rows::chain(0, done, count, 10_000)];
                let some = attend(&mut parts, &cache, s, HOW, &sequences, &rows);
                let expected = &all.data[done * all.cols..(done + count) * all.cols];
                assert!(same_bits(&some.data, expected), "{isa} {element:?} rows {done}..{}", done + count);
                done += count;
            }
        }
    }
}

/// Rows of one head at a time, so that the positions of a row are split over the threads.
#[test]
fn threads_share_the_positions_of_a_row() {
    for isa in instruction_sets() {
        for element in [CacheType::F16, CacheType::Q4_0] {
            for window in [10_000, 400] {
                let s = Shape { heads: 2, kv_heads: 1, width: 32, page_len: 64, element };
                let sequences = [s.sequence(600, 60)];
                let run = |threads| {
                    let mut b = backend(isa, threads, Compute::Fast);
                    let cache = s.cache(&mut b);
                    let mut all = Vec::new();
                    for (first, count) in [(0, 590), (590, 1), (591, 2), (593, 5)] {
                        let rows = [Rows::chain(0, first, count, window)];
                        all.extend(attend(&mut b, &cache, s, HOW, &sequences, &rows).data);
                    }
                    all
                };
                let alone = run(1);
                for threads in [2, 5] {
                    assert!(same_bits(&run(threads), &alone), "{isa} {element:?} window {window}, {threads} threads");
                }
            }
        }
    }
}

#[test]
fn instruction_sets_give_the_same_bits() {
    for element in [CacheType::F16, CacheType::Q8_0, CacheType::Q4_0] {
        let s = Shape { heads: 4, kv_heads: 2, width: 64, page_len: 32, element };
        let sequences = [s.sequence(302, 30)];
        let options = Attention { softcap: Some(5.0), ..HOW };
        let run = |isa| {
            let mut b = backend(isa, 1, Compute::Fast);
            let cache = s.cache(&mut b);
            let mut all = attend(&mut b, &cache, s, options, &sequences, &[Rows::chain(0, 0, 300, 10_000)]).data;
            // One row, and two, read the pages directly.
            all.extend(attend(&mut b, &cache, s, options, &sequences, &[Rows::chain(0, 300, 1, 10_000)]).data);
            all.extend(attend(&mut b, &cache, s, options, &sequences, &[Rows::chain(0, 300, 2, 10_000)]).data);
            all
        };
        let first = run(Isa::Generic);
        for isa in instruction_sets() {
            assert!(same_bits(&run(isa), &first), "{isa} {element:?}");
        }
    }
}

/// Rows of a draft tree see scattered ancestors. Each gives the bits that its path would give as a chain.
#[test]
fn a_path_through_a_draft_tree_equals_the_chain() {
    for isa in instruction_sets() {
        for (element, page_len) in
            [(CacheType::F16, 16), (CacheType::F32, 8), (CacheType::Q8_0, 256), (CacheType::Q4_0, 64)]
        {
            for past in [5usize, 255, 256, 300, 520] {
                let s = Shape { heads: 4, kv_heads: 2, width: 32, page_len, element };
                let tree = s.sequence(past + 8, 40);
                let p = past as u32;
                // Node i is in cell p + i: 0 -> 2 -> 4 -> 6 and 1 -> 3 -> 5 -> 7.
                let ancestors = |i: u32| (i % 2..=i).step_by(2).map(|n| p + n).collect::<Vec<_>>();
                let seen = (0..8).map(|i| (0, p, ancestors(i))).collect();
                let rows = [Rows { sequence: 0, cells: (p..p + 8).collect(), seen }];
                let mut b = backend(isa, 2, Compute::Fast);
                let cache = s.cache(&mut b);
                let sequences = [tree];
                attend(&mut b, &cache, s, HOW, &sequences, &[Rows::chain(0, 0, past, 10_000)]);
                let found = attend(&mut b, &cache, s, HOW, &sequences, &rows);
                assert_close(&found, &expected(s, HOW, &sequences, &rows), TOLERANCE, "draft tree");
                for branch in 0..2 {
                    let path: Vec<usize> = (0..past).chain((0..4).map(|n| past + branch + 2 * n)).collect();
                    let take = |m: &Matrix| {
                        Matrix::new(path.len(), m.cols, path.iter().flat_map(|c| m.row(*c).to_vec()).collect())
                    };
                    let chain =
                        [Sequence { q: take(&sequences[0].q), k: take(&sequences[0].k), v: take(&sequences[0].v) }];
                    let mut b = backend(isa, 1, Compute::Fast);
                    let cache = s.cache(&mut b);
                    attend(&mut b, &cache, s, HOW, &chain, &[Rows::chain(0, 0, past, 10_000)]);
                    for n in 0..4 {
                        let alone = attend(&mut b, &cache, s, HOW, &chain, &[Rows::chain(0, past + n, 1, 10_000)]);
                        assert!(
                            same_bits(&alone.data, found.row(branch + 2 * n)),
                            "{isa} {element:?} past {past} node {n} of branch {branch}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_affect_only_rows_that_see_them() {
    for isa in instruction_sets() {
        for page_len in [4, 64] {
            let s = Shape { heads: 4, kv_heads: 1, width: 16, page_len, element: CacheType::F32 };
            let mut sequence = s.sequence(40, 50);
            sequence.v.row_mut(20)[3] = f32::NAN;
            sequence.k.row_mut(30)[1] = f32::INFINITY;
            let mut b = backend(isa, 2, Compute::Fast);
            let cache = s.cache(&mut b);
            let found = attend(&mut b, &cache, s, HOW, &[sequence], &[Rows::chain(0, 0, 40, 10_000)]);
            for r in 0..40 {
                let bad = found.row(r).iter().any(|v| v.is_nan());
                assert_eq!(bad, r >= 20, "{isa} row {r}");
            }
        }
    }
}
