//! Batch invariance of class 1: the bits of a row depend neither on the other rows of a step nor on the number of rows of
//! its own sequence. Prefill in any steps therefore gives the bits of decoding token by token.

use honelm_backend::{Activation, Backend, CacheType, Parent, Tensor, Weight};
use honelm_blocks::Encoding;
use honelm_tensor::Matrix;

use super::attention::{Shape, World};
use super::linear::{GROUPS, weight};
use super::{Failure, OperatorCase, Tolerance, run_all, step};
use crate::values::matrix;

/// The number of rows before, in and after the sequence whose bits are compared.
const NEIGHBOURS: [[usize; 3]; 9] =
    [[0, 1, 0], [0, 16, 0], [0, 5, 0], [3, 1, 3], [500, 1, 0], [40, 16, 1], [1, 9, 270], [2, 100, 3], [0, 400, 0]];

/// The rows that are compared, around the heights of panels and the largest number of rows that share a step.
const COMPARED: [usize; 24] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 47, 48, 99, 200, 383, 384, 399];

/// Checks on the back ends of `make` that neighbours change no bit of a row. The CPU back ends run this table with
/// any number of threads. GPUs meet tolerances instead.
///
/// # Panics
/// Panics if a case fails. The message lists all failing cases.
pub fn run_invariance_table(make: &mut dyn FnMut() -> Box<dyn Backend>) {
    run_all(invariance_cases(), make, &Tolerance::F32);
}

/// Returns the cases of the table.
#[must_use]
pub fn invariance_cases() -> Vec<OperatorCase> {
    const K: usize = 512;
    let mut cases = Vec::new();
    let mut linear = |name: String, data: Box<dyn Fn() -> honelm_blocks::WeightData>| {
        cases.push(OperatorCase::new(format!("linear {name} is batch-invariant"), move |b, _| {
            let w = b.upload(data(), None)?;
            rows_alone_and_together(b, K, |b, x| vec![b.linear(&x, &w)])
        }));
    };
    for encoding in Encoding::ALL {
        linear(encoding.to_string(), Box::new(move || weight(encoding, 70, K, 3)));
    }
    for groups in GROUPS {
        linear(format!("{groups:?}"), Box::new(move || groups.weight(70, K, 3)));
    }
    cases.push(OperatorCase::new("a layer's fused operations are batch-invariant", |b, _| layer(b)));
    cases.push(OperatorCase::new("plain row operations are batch-invariant", |b, _| plain(b)));
    for element in [CacheType::F32, CacheType::F16, CacheType::Q8_0, CacheType::Q4_0] {
        for (heads, kv_heads, width) in [(4, 2, 32), (3, 1, 64), (2, 2, 96)] {
            let shape = Shape { page_len: 32, window: 40, ..Shape::new(heads, kv_heads, width, element) };
            cases.push(OperatorCase::new(format!("attention is batch-invariant, {shape:?}"), move |b, _| {
                attention(b, shape)
            }));
        }
    }
    cases
}

fn rows_of(x: &Matrix, from: usize, rows: usize) -> Matrix {
    Matrix::new(rows, x.cols, x.data[from * x.cols..(from + rows) * x.cols].to_vec())
}

fn same_bits(found: &[f32], expected: &[f32], what: impl FnOnce() -> String) -> Result<(), Failure> {
    match found.iter().zip(expected).position(|(f, e)| f.to_bits() != e.to_bits()) {
        Some(i) => Err(Failure::Wrong(format!("{}: value {i} is {:e}, alone {:e}", what(), found[i], expected[i]))),
        None => Ok(()),
    }
}

/// Runs operations that depend on one row only, on each row of a sequence by itself and among neighbours.
fn rows_alone_and_together(
    b: &mut dyn Backend,
    cols: usize,
    record: impl Fn(&mut dyn Backend, Tensor) -> Vec<Tensor>,
) -> Result<(), Failure> {
    let own = matrix(400, cols, 50);
    let mut alone = Vec::new();
    for r in COMPARED {
        let x = rows_of(&own, r, 1);
        let results = step(b, &[1], |b| {
            let x = b.input(&x);
            record(b, x)
        })?;
        alone.push((r, results));
    }
    for [before, rows, after] in NEIGHBOURS {
        let mut x = matrix(before + rows + after, cols, 51);
        x.data[before * cols..(before + rows) * cols].copy_from_slice(&own.data[..rows * cols]);
        let segments: Vec<usize> = [before, rows, after].into_iter().filter(|&n| n > 0).collect();
        let together = step(b, &segments, |b| {
            let x = b.input(&x);
            record(b, x)
        })?;
        for (r, alone) in alone.iter().take_while(|(r, _)| *r < rows) {
            for (i, (t, a)) in together.iter().zip(alone).enumerate() {
                same_bits(t.row(before + r), a.row(0), || {
                    format!("result {i}, row {r} of {rows} beside {before} and {after} others")
                })?;
            }
        }
    }
    Ok(())
}

/// Runs norms, gate, sums and linear modules as a layer fuses them.
fn layer(b: &mut dyn Backend) -> Result<(), Failure> {
    for encoding in [Encoding::F32, Encoding::Q4_0, Encoding::Q6K] {
        let gain = b.upload_vector(&matrix(1, 256, 1).data)?;
        let mut up = |m, k, seed| b.upload(weight(encoding, m, k, seed), None);
        let (gate, up, down): (Weight, Weight, Weight) = (up(512, 256, 2)?, up(512, 256, 3)?, up(256, 512, 4)?);
        rows_alone_and_together(b, 256, |b, x| {
            let h = b.norm_gated(&x, &gain, 1e-5, &gate, &up, Activation::Silu);
            let x = b.linear_add(&h, &down, x);
            let mut out = b.norm_linears(&x, &gain, 1e-5, &[&gate, &up]);
            out.push(b.rms_norm(&x, &gain, 1e-5));
            out
        })?;
    }
    Ok(())
}

/// Runs layer norm, activations, scaling and column selection.
fn plain(b: &mut dyn Backend) -> Result<(), Failure> {
    let norm = b.upload_norm(&matrix(1, 256, 1).data, Some(&matrix(1, 256, 2).data))?;
    rows_alone_and_together(b, 256, |b, x| {
        let h = b.layer_norm(&x, &norm, 1e-5);
        let part = b.columns(&h, 37, 190);
        let h = b.activate(h, Activation::GeluTanh);
        vec![b.scale(h, 0.3), part]
    })
}

/// Runs the same tokens one by one, several at once beside other sequences, and as drafts.
fn attention(b: &mut dyn Backend, shape: Shape) -> Result<(), Failure> {
    const TOKENS: usize = 300;
    const DRAFT: usize = 6;
    let all = World::new(b, shape, 0.0)?.draw(TOKENS);
    let part = |from: usize, rows: usize| -> Vec<[Matrix; 3]> {
        all.iter().map(|qkv| std::array::from_fn(|i| rows_of(&qkv[i], from, rows))).collect()
    };
    let mut alone = Vec::new();
    let mut world = World::new(b, shape, 0.0)?;
    let id = world.open();
    for r in 0..TOKENS {
        alone.push(world.run(&[(id, vec![Parent::Previous])], &part(r, 1))?);
    }
    let check = |found: &[Matrix], row: usize, token: usize, how: &str| {
        found.iter().enumerate().try_for_each(|(layer, m)| {
            same_bits(m.row(row), alone[token][layer].row(0), || format!("layer {layer}, token {token}, {how}"))
        })
    };
    let mut world = World::new(b, shape, 0.0)?;
    let id = world.open();
    let mut at = 0;
    for [before, rows, after] in NEIGHBOURS.into_iter().cycle() {
        let rows = rows.min(TOKENS - DRAFT - at);
        if rows == 0 {
            break;
        }
        let mut parts = vec![(id, vec![Parent::Previous; rows])];
        let mut qkv = part(at, rows);
        for (n, first) in [(before, true), (after, false)] {
            if n == 0 {
                continue;
            }
            let other = (world.open(), vec![Parent::Previous; n]);
            let others = world.draw(n);
            parts.insert(if first { 0 } else { parts.len() }, other);
            for (own, other) in qkv.iter_mut().flatten().zip(others.iter().flatten()) {
                let (head, tail) = if first { (&other.data, &own.data) } else { (&own.data, &other.data) };
                *own = Matrix::new(own.rows + n, own.cols, [&head[..], &tail[..]].concat());
            }
        }
        let found = world.run(&parts, &qkv)?;
        (0..rows).try_for_each(|r| check(&found, before + r, at + r, "among others"))?;
        at += rows;
    }
    // Drafts of the next tokens, each after a wrong sibling.
    let wrong = world.draw(DRAFT);
    let right = part(at, DRAFT);
    let mut parents = Vec::new();
    for i in 0..DRAFT as u32 {
        let parent = if i == 0 { Parent::Accepted } else { Parent::Row(2 * i - 1) };
        parents.extend([parent, parent]);
    }
    let weave = |w: &Matrix, r: &Matrix| {
        let data = (0..DRAFT).flat_map(|i| [w.row(i), r.row(i)]).flatten().copied().collect();
        Matrix::new(2 * DRAFT, w.cols, data)
    };
    let qkv: Vec<[Matrix; 3]> =
        wrong.iter().zip(&right).map(|(w, r)| std::array::from_fn(|i| weave(&w[i], &r[i]))).collect();
    let found = world.run(&[(id, parents)], &qkv)?;
    (0..DRAFT).try_for_each(|i| check(&found, 2 * i + 1, at + i, "as a draft"))
}
