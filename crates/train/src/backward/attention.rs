//! The gradients of attention. Scores are computed again, one head of one sequence at a time.

use honelm_backend::{Segment, Step};
use honelm_cpu::Pool;
use honelm_tensor::Matrix;
use ndarray::{ArrayView2, s};

use super::products::{view, view_mut};
use crate::tape::Heads;

/// With p = softmax(c(scale q k^T)) and y = p v, where c is the cap of the scores: dv = p^T dy, dp = dy v^T,
/// ds = p (dp - sum(p dp)), dq = scale c' ds k, dk = scale c' ds^T q. // q, dy [N, H * E], k, v [N, G * E] -> as q, k, v
pub(super) fn attention(pool: &Pool, step: &Step, qkv: [&Matrix; 3], heads: &Heads, dy: &Matrix) -> [Matrix; 3] {
    let mut out = qkv.map(|x| Matrix::zeros(x.rows, x.cols));
    let tasks: Vec<(&Segment, usize)> =
        step.segments.iter().flat_map(|segment| (0..heads.kv_heads).map(move |kv| (segment, kv))).collect();
    let mut parts: Vec<Option<[Matrix; 3]>> = tasks.iter().map(|_| None).collect();
    pool.run_parts(&mut parts, 1, |i, part| {
        let (segment, kv) = tasks[i];
        part[0] = Some(of_kv_head(step, segment, kv, qkv, heads, dy));
    });
    let (e, shared) = (heads.head_width, heads.how.heads / heads.kv_heads);
    for ((segment, kv), part) in tasks.into_iter().zip(parts) {
        for ((out, part), width) in out.iter_mut().zip(part.into_iter().flatten()).zip([shared * e, e, e]) {
            for (row, values) in segment.rows.clone().zip(part.iter_rows()) {
                out.row_mut(row)[kv * width..(kv + 1) * width].copy_from_slice(values);
            }
        }
    }
    out
}

/// Returns the gradients of a key-value head in one sequence, and of the queries that share it. // [T, shared * E], [T, E], [T, E]
fn of_kv_head(step: &Step, segment: &Segment, kv: usize, qkv: [&Matrix; 3], heads: &Heads, dy: &Matrix) -> [Matrix; 3] {
    let (e, shared, t) = (heads.head_width, heads.how.heads / heads.kv_heads, segment.rows.len());
    let part = |x: &Matrix, head: usize| -> Matrix {
        let cells = view(x);
        let cells = cells.slice(s![segment.rows.clone(), head * e..(head + 1) * e]);
        Matrix::new(t, e, cells.iter().copied().collect())
    };
    let (k, v) = (part(qkv[1], kv), part(qkv[2], kv));
    let [mut dq_all, mut dk, mut dv] = [Matrix::zeros(t, shared * e), Matrix::zeros(t, e), Matrix::zeros(t, e)];
    let (mut p, mut ds, mut dq) = (Matrix::zeros(t, t), Matrix::zeros(t, t), Matrix::zeros(t, e));
    let mut slopes = vec![1.0; t];
    for h in 0..shared {
        let (q, dy) = (part(qkv[0], kv * shared + h), part(dy, kv * shared + h));
        multiply(heads.how.scale, view(&q), view(&k).reversed_axes(), 0.0, &mut p);
        multiply(1.0, view(&dy), view(&v).reversed_axes(), 0.0, &mut ds);
        for (row, seen) in step.groups[heads.group].seen[segment.rows.clone()].iter().enumerate() {
            let seen = seen.first as usize..seen.end as usize;
            of_row(p.row_mut(row), ds.row_mut(row), &mut slopes, seen, heads.how.softcap);
        }
        multiply(1.0, view(&p).reversed_axes(), view(&dy), 1.0, &mut dv);
        multiply(heads.how.scale, view(&ds), view(&k), 0.0, &mut dq);
        multiply(heads.how.scale, view(&ds).reversed_axes(), view(&q), 1.0, &mut dk);
        for (all, dq) in dq_all.data.chunks_exact_mut(shared * e).zip(dq.iter_rows()) {
            all[h * e..(h + 1) * e].copy_from_slice(dq);
        }
    }
    [dq_all, dk, dv]
}

/// Replaces a row of scores by its weights p, and the gradients dp of the weights by those of the scores. Cells that are not seen
/// get 0 in both. // scores, gradients `[T]`
fn of_row(
    scores: &mut [f32],
    gradients: &mut [f32],
    slopes: &mut [f32],
    seen: std::ops::Range<usize>,
    softcap: Option<f32>,
) {
    for hidden in [0..seen.start, seen.end..scores.len()] {
        scores[hidden.clone()].fill(0.0);
        gradients[hidden].fill(0.0);
    }
    let (scores, gradients) = (&mut scores[seen.clone()], &mut gradients[seen.clone()]);
    let slopes = &mut slopes[seen];
    if let Some(cap) = softcap {
        for (score, slope) in scores.iter_mut().zip(&mut *slopes) {
            let capped = (*score / cap).tanh();
            (*score, *slope) = (cap * capped, 1.0 - capped * capped);
        }
    }
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for score in scores.iter_mut() {
        *score = (*score - top).exp();
        sum += f64::from(*score);
    }
    let inverse = (1.0 / sum) as f32;
    scores.iter_mut().for_each(|p| *p *= inverse);
    let mean: f64 = scores.iter().zip(&*gradients).map(|(p, dp)| f64::from(*p) * f64::from(*dp)).sum();
    for ((ds, p), slope) in gradients.iter_mut().zip(&*scores).zip(&*slopes) {
        *ds = p * (*ds - mean as f32);
        if softcap.is_some() {
            *ds *= slope;
        }
    }
}

fn multiply(scale: f32, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, keep: f32, out: &mut Matrix) {
    honelm_cpu::multiply(scale, a, b, keep, &mut view_mut(out));
}
