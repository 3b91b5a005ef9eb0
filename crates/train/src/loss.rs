use honelm_cpu::Pool;
use honelm_tensor::Matrix;

/// A loss, summed over rows, and its gradient with respect to the logits.
#[derive(Debug, Clone)]
pub struct Loss {
    /// The sum of the rows' losses, without the weight, in nats.
    pub sum: f64,
    /// The gradient of the weighted sum. // [rows, V]
    pub gradient: Matrix,
}

/// Returns the divergence of `logits` from `teacher`, sum(p (ln p - ln q)) with p = softmax(teacher) and q = softmax(logits), of
/// each row, and the gradient of `weight` times their sum. // [rows, V], [rows, V]
///
/// # Panics
/// Panics if the shapes differ.
#[must_use]
pub fn divergence(pool: &Pool, teacher: &Matrix, logits: Matrix, weight: f32) -> Loss {
    assert_eq!((teacher.rows, teacher.cols), (logits.rows, logits.cols), "the shapes of logits");
    each_row(pool, logits, |r, row| {
        let target = teacher.row(r);
        let (top_p, log_p) = log_sum(target);
        let (top_q, log_q) = log_sum(row);
        let mut sum = 0.0;
        for (x, t) in row.iter_mut().zip(target) {
            let (log_p, log_q) = (f64::from(t - top_p) - log_p, f64::from(*x - top_q) - log_q);
            let (p, q) = ((log_p as f32).exp(), (log_q as f32).exp());
            if p > 0.0 {
                sum += f64::from(p) * (log_p - log_q);
            }
            *x = (q - p) * weight;
        }
        sum
    })
}

/// Returns the negative log-likelihood of a token after each row, and the gradient of `weight` times their sum. A row without a
/// token counts nothing. // [rows, V], `[rows]`
///
/// # Panics
/// Panics if there is not one target per row, or one lies outside of the vocabulary.
#[must_use]
pub fn cross_entropy(pool: &Pool, targets: &[Option<u32>], logits: Matrix, weight: f32) -> Loss {
    assert_eq!(targets.len(), logits.rows, "a target for each row of logits");
    each_row(pool, logits, |r, row| {
        let Some(target) = targets[r] else {
            row.fill(0.0);
            return 0.0;
        };
        let (top, log) = log_sum(row);
        let likelihood = f64::from(row[target as usize] - top) - log;
        row.iter_mut().for_each(|x| *x = ((f64::from(*x - top) - log) as f32).exp() * weight);
        row[target as usize] -= weight;
        -likelihood
    })
}

/// Returns the largest value and ln(sum(exp(x - largest))).
fn log_sum(row: &[f32]) -> (f32, f64) {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (top, row.iter().map(|x| f64::from((x - top).exp())).sum::<f64>().ln())
}

/// Replaces each row of logits by the gradient that `f` writes, and sums what it returns, in order.
fn each_row(pool: &Pool, logits: Matrix, f: impl Fn(usize, &mut [f32]) -> f64 + Sync) -> Loss {
    let mut gradient = logits;
    let cols = gradient.cols.max(1);
    let mut rows: Vec<(&mut [f32], f64)> = gradient.data.chunks_exact_mut(cols).map(|row| (row, 0.0)).collect();
    pool.run_parts(&mut rows, 1, |r, part| part.iter_mut().for_each(|(row, sum)| *sum = f(r, row)));
    let sum = rows.into_iter().map(|(_, sum)| sum).sum();
    Loss { sum, gradient }
}
