use honelm_backend::{Activation, Attention, Backend, Cache, Rope, Tensor, Weight, fused};
use honelm_blocks::Encoding;
use honelm_tensor::Matrix;

use super::linear::{GROUPS, weight};
use super::{Failure, OperatorCase, compare, row_scale, spoil, step, step_with_cache};
use crate::values::matrix;

const D: usize = 64;
const ROWS: [usize; 4] = [1, 5, 16, 70];

/// Runs the fused and the plain form, each in its own step.
fn both(
    b: &mut dyn Backend,
    rows: usize,
    tolerance: f64,
    fused: impl Fn(&mut dyn Backend) -> Vec<Tensor>,
    plain: impl Fn(&mut dyn Backend) -> Vec<Tensor>,
) -> Result<(), Failure> {
    let found = step(b, &[rows], fused)?;
    let expected = step(b, &[rows], plain)?;
    assert_eq!(found.len(), expected.len(), "results of the fused form");
    found.iter().zip(&expected).try_for_each(|(f, e)| compare(f, e, &row_scale(e), tolerance))
}

struct Weights {
    gain: Weight,
    /// `[F, D]`, `[F, D]`, `[D, F]`, the second with a bias.
    gate: Weight,
    up: Weight,
    down: Weight,
}

const ENCODINGS: [Encoding; 4] = [Encoding::F32, Encoding::F16, Encoding::Q4_0, Encoding::Q8_0];

/// Uploads weights of one encoding. Numbers from [`ENCODINGS`] on are group encodings.
fn weights(b: &mut dyn Backend, i: usize) -> Result<Weights, Failure> {
    let f = 96;
    let data = |m, k, seed| match ENCODINGS.get(i) {
        Some(&encoding) => weight(encoding, m, k, seed),
        None => GROUPS[i - ENCODINGS.len()].weight(m, k, seed),
    };
    let bias = matrix(1, f, 9).data;
    Ok(Weights {
        gain: b.upload_vector(&matrix(1, D, 1).data)?,
        gate: b.upload(data(f, D, 2), None)?,
        up: b.upload(data(f, D, 3), Some(&bias))?,
        down: b.upload(data(D, f, 4), None)?,
    })
}

fn spoiled(rows: usize, cols: usize) -> Matrix {
    let mut x = matrix(rows, cols, 20 + rows as u64);
    spoil(&mut x);
    x
}

pub(super) fn cases() -> Vec<OperatorCase> {
    let mut cases = Vec::new();
    for i in 0..ENCODINGS.len() + 2 {
        cases.push(OperatorCase::new(format!("norm_linears equals its definition, weights {i}"), move |b, t| {
            let w = weights(b, i)?;
            ROWS.iter().try_for_each(|&rows| {
                let x = spoiled(rows, D);
                let ws = [&w.gate, &w.up, &w.gate];
                let run = |b: &mut dyn Backend, is_fused: bool| {
                    let x = b.input(&x);
                    if is_fused {
                        b.norm_linears(&x, &w.gain, 1e-5, &ws)
                    } else {
                        fused::norm_linears(b, &x, &w.gain, 1e-5, &ws)
                    }
                };
                both(b, rows, t.linear, |b| run(b, true), |b| run(b, false))
            })
        }));
        cases.push(OperatorCase::new(format!("linear_add equals its definition, weights {i}"), move |b, t| {
            let w = weights(b, i)?;
            ROWS.iter().try_for_each(|&rows| {
                let (x, residual) = (spoiled(rows, 96), matrix(rows, D, 31));
                let run = |b: &mut dyn Backend, is_fused: bool| {
                    let (x, kept) = (b.input(&x), b.input(&residual));
                    // The residual is used again, so it must not be overwritten.
                    let y = if is_fused {
                        b.linear_add(&x, &w.down, kept.clone())
                    } else {
                        fused::linear_add(b, &x, &w.down, kept.clone())
                    };
                    vec![y, kept]
                };
                both(b, rows, t.linear, |b| run(b, true), |b| run(b, false))
            })
        }));
        cases.push(OperatorCase::new(format!("norm_gated equals its definition, weights {i}"), move |b, t| {
            let w = weights(b, i)?;
            ROWS.iter().try_for_each(|&rows| {
                let x = spoiled(rows, D);
                let run = |b: &mut dyn Backend, is_fused: bool| {
                    let x = b.input(&x);
                    vec![if is_fused {
                        b.norm_gated(&x, &w.gain, 1e-5, &w.gate, &w.up, Activation::Silu)
                    } else {
                        fused::norm_gated(b, &x, &w.gain, 1e-5, &w.gate, &w.up, Activation::Silu)
                    }]
                };
                both(b, rows, 2.0 * t.linear, |b| run(b, true), |b| run(b, false))
            })
        }));
    }
    cases.push(OperatorCase::new("rope_attention equals its definition", |b, t| {
        let rope = Rope { inverse_frequencies: b.upload_vector(&[1.0, 0.1])?, head_width: 4, magnitude: 1.0 };
        let how = Attention { heads: 3, scale: 0.5, softcap: None };
        ROWS.iter().try_for_each(|&rows| {
            let (q, k, v) = (matrix(rows, 12, 1), matrix(rows, 4, 2), matrix(rows, 4, 3));
            let run = |b: &mut dyn Backend, cache: &Cache, is_fused: bool| {
                let (q, k, v) = (b.input(&q), b.input(&k), b.input(&v));
                vec![if is_fused {
                    b.rope_attention(q, k, &v, &rope, cache, 0, &how)
                } else {
                    fused::rope_attention(b, q, k, &v, &rope, cache, 0, &how)
                }]
            };
            let found = step_with_cache(b, &[rows], |b, cache| run(b, cache, true))?;
            let expected = step_with_cache(b, &[rows], |b, cache| run(b, cache, false))?;
            compare(&found[0], &expected[0], &row_scale(&expected[0]), t.attention)
        })
    }));
    cases
}
