use honelm_cpu::Pool;
use honelm_tensor::Matrix;

use crate::Top;

/// A loss, summed over rows, and its gradient with respect to the rows' values.
#[derive(Debug, Clone)]
pub struct Loss {
    /// The sum of the rows' losses, in nats.
    pub sum: f64,
    /// The gradient of the weighted sum. // [rows, V]
    pub gradient: Matrix,
}

/// The next-token distributions of a teacher for some rows.
#[derive(Debug, Clone, Copy)]
pub enum Target<'t> {
    /// The logits. // [rows, V]
    Logits(&'t Matrix),
    /// The most likely tokens of each row, at the temperature of the loss.
    Top(&'t [Top]),
}

/// The weights of the two parts of a distillation, and its temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// The weight of a row's divergence from the teacher.
    pub soft: f32,
    /// The weight of a row's cross entropy with the next token.
    pub hard: f32,
    /// The temperature T by which the logits of both models are divided for the divergence.
    pub temperature: f32,
}

/// The two parts of a distillation's loss, and the gradient of their weighted sum.
#[derive(Debug, Clone)]
pub struct Distilled {
    /// The sum of the rows' divergences times T^2, without the weight.
    pub soft: f64,
    /// The sum of the rows' cross entropies, without the weight.
    pub hard: f64,
    /// The gradient of the weighted sum. // [rows, V]
    pub gradient: Matrix,
}

/// Returns the loss of a distillation (Hinton, Vinyals and Dean 2015, section 2): of each row soft T^2 KL(p || q) + hard (-ln q1(token)),
/// with p = softmax(teacher / T), q = softmax(logits / T), q1 = softmax(logits). Without a target, the first part is 0; a row without
/// a token has no second part. // `[rows]`, [rows, V]
///
/// The divergence from a [`Top`] counts all tokens that it does not name as one. It is at most that over the whole vocabulary.
///
/// # Panics
/// Panics if the shapes differ, or a token lies outside of the vocabulary.
#[must_use]
pub fn distillation(
    pool: &Pool,
    target: Option<Target<'_>>,
    tokens: &[Option<u32>],
    logits: Matrix,
    mix: Mix,
) -> Distilled {
    assert_eq!(tokens.len(), logits.rows, "a token or none for each row of logits");
    if let Some(Target::Logits(teacher)) = target {
        assert_eq!((teacher.rows, teacher.cols), (logits.rows, logits.cols), "the shapes of logits");
    }
    let (sums, gradient) = each_row(pool, logits, |r, row| {
        let logits = row.to_vec();
        row.fill(0.0);
        let soft = match target {
            Some(Target::Logits(teacher)) => soft_row(teacher.row(r), &logits, mix, row),
            Some(Target::Top(rows)) => top_row(&rows[r], &logits, mix, row),
            None => 0.0,
        };
        let hard = tokens[r].map_or(0.0, |token| hard_row(token, &logits, mix.hard, row));
        [soft, hard]
    });
    let sum = |part: usize| sums.iter().map(|sum| sum[part]).sum();
    Distilled { soft: sum(0), hard: sum(1), gradient }
}

/// Returns the divergence of `logits` from `teacher`, sum(p (ln p - ln q)) with p = softmax(teacher) and q = softmax(logits), of
/// each row, and the gradient of `weight` times their sum. // [rows, V], [rows, V]
///
/// # Panics
/// Panics if the shapes differ.
#[must_use]
pub fn divergence(pool: &Pool, teacher: &Matrix, logits: Matrix, weight: f32) -> Loss {
    let (tokens, mix) = (vec![None; logits.rows], Mix { soft: weight, hard: 0.0, temperature: 1.0 });
    let found = distillation(pool, Some(Target::Logits(teacher)), &tokens, logits, mix);
    Loss { sum: found.soft, gradient: found.gradient }
}

/// Returns the negative log-likelihood of a token after each row, and the gradient of `weight` times their sum. A row without a
/// token counts nothing. // [rows, V], `[rows]`
///
/// # Panics
/// Panics if there is not one target per row, or one lies outside of the vocabulary.
#[must_use]
pub fn cross_entropy(pool: &Pool, targets: &[Option<u32>], logits: Matrix, weight: f32) -> Loss {
    let found = distillation(pool, None, targets, logits, Mix { soft: 0.0, hard: weight, temperature: 1.0 });
    Loss { sum: found.hard, gradient: found.gradient }
}

/// Returns the mean square of x - target divided by the mean square of `target`, and the gradient of `weight` times it with respect
/// to x. // [N, D], [N, D]
///
/// # Panics
/// Panics if the shapes differ.
#[must_use]
pub fn mean_square(target: &Matrix, x: &Matrix, weight: f64) -> Loss {
    assert_eq!((target.rows, target.cols), (x.rows, x.cols), "the shapes of hidden states");
    let squares: f64 = target.data.iter().map(|t| f64::from(*t) * f64::from(*t)).sum();
    let scale = 1.0 / squares.max(f64::MIN_POSITIVE);
    let mut gradient = x.clone();
    let mut sum = 0.0;
    for (g, t) in gradient.data.iter_mut().zip(&target.data) {
        let difference = f64::from(*g) - f64::from(*t);
        sum += difference * difference;
        *g = (2.0 * weight * scale * difference) as f32;
    }
    Loss { sum: sum * scale, gradient }
}

/// Adds the gradient of soft T^2 KL(p || q) to `out`, and returns T^2 KL(p || q).
fn soft_row(target: &[f32], logits: &[f32], mix: Mix, out: &mut [f32]) -> f64 {
    let (t, inverse) = (mix.temperature, 1.0 / mix.temperature);
    let ((top_p, sum_p), (top_q, sum_q)) = (log_sum(target, inverse), log_sum(logits, inverse));
    let mut sum = 0.0;
    for ((out, x), z) in out.iter_mut().zip(logits).zip(target) {
        let log_p = f64::from((z - top_p) * inverse) - sum_p;
        let log_q = f64::from((x - top_q) * inverse) - sum_q;
        let (p, q) = ((log_p as f32).exp(), (log_q as f32).exp());
        if p > 0.0 {
            sum += f64::from(p) * (log_p - log_q);
        }
        *out += (q - p) * mix.soft * t;
    }
    sum * f64::from(t * t)
}

/// As [`soft_row`], where all tokens that `target` does not name are one: their q is the sum r of their own, and with the teacher's
/// p_r the derivative of the divergence by the logit of one of them is q - p_r q / r.
fn top_row(target: &Top, logits: &[f32], mix: Mix, out: &mut [f32]) -> f64 {
    let (t, inverse) = (mix.temperature, 1.0 / mix.temperature);
    let (top, log) = log_sum(logits, inverse);
    let all = target.logs.iter().chain([&target.rest]).map(|log| f64::from(*log).exp()).sum::<f64>().ln();
    let log_q = |x: f32| f64::from((x - top) * inverse) - log;
    let mut others = vec![true; logits.len()];
    target.ids.iter().for_each(|id| others[*id as usize] = false);
    let unnamed = || logits.iter().zip(&others).filter(|(_, other)| **other);
    let rest: f64 = unnamed().map(|(x, _)| log_q(*x).exp()).sum();
    let log_rest = f64::from(target.rest) - all;
    let mut sum = 0.0;
    for (id, log_p) in target.ids.iter().zip(&target.logs) {
        let (log_p, log_q) = (f64::from(*log_p) - all, log_q(logits[*id as usize]));
        sum += log_p.exp() * (log_p - log_q);
        out[*id as usize] += ((log_q.exp() - log_p.exp()) as f32) * mix.soft * t;
    }
    if log_rest > f64::NEG_INFINITY && rest > 0.0 {
        sum += log_rest.exp() * (log_rest - rest.ln());
    }
    let share = if rest > 0.0 { 1.0 - log_rest.exp() / rest } else { 1.0 };
    for ((out, x), _) in out.iter_mut().zip(logits).zip(&others).filter(|(_, other)| **other) {
        *out += ((log_q(*x).exp() * share) as f32) * mix.soft * t;
    }
    sum * f64::from(t * t)
}

/// Adds the gradient of `weight` times the cross entropy with a token to `out`, and returns the cross entropy.
fn hard_row(token: u32, logits: &[f32], weight: f32, out: &mut [f32]) -> f64 {
    let (top, log) = log_sum(logits, 1.0);
    let likelihood = f64::from(logits[token as usize] - top) - log;
    for (out, x) in out.iter_mut().zip(logits) {
        *out += ((f64::from(*x - top) - log) as f32).exp() * weight;
    }
    out[token as usize] -= weight;
    -likelihood
}

/// Returns the largest value and ln(sum(exp((x - largest) inverse))).
pub(crate) fn log_sum(row: &[f32], inverse: f32) -> (f32, f64) {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (top, row.iter().map(|x| f64::from(((x - top) * inverse).exp())).sum::<f64>().ln())
}

/// Replaces each row of logits by the gradient that `f` writes, and returns what it returns, in order.
fn each_row(pool: &Pool, logits: Matrix, f: impl Fn(usize, &mut [f32]) -> [f64; 2] + Sync) -> (Vec<[f64; 2]>, Matrix) {
    let mut gradient = logits;
    let cols = gradient.cols.max(1);
    let mut rows: Vec<(&mut [f32], [f64; 2])> =
        gradient.data.chunks_exact_mut(cols).map(|row| (row, [0.0; 2])).collect();
    pool.run_parts(&mut rows, 1, |r, part| part.iter_mut().for_each(|(row, sums)| *sums = f(r, row)));
    let sums = rows.into_iter().map(|(_, sums)| sums).collect();
    (sums, gradient)
}
