//! Ridge regression (Hoerl and Kennard 1970) on dense measures and sparse n-grams, solved by conjugate gradients.

use super::features::{GRAM_BUCKETS, MEASURES};

/// The number of measures.
pub(super) const DENSE: usize = MEASURES.len();
/// The most steps of the solver, and the relative residual at which it stops.
const MOST_STEPS: usize = 60;
const TOLERANCE: f64 = 1e-4;

/// A row of the regression.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The standardised measures.
    pub measures: [f32; DENSE],
    /// The buckets of the n-grams, whose value is `1 / sqrt(k)` for `k` of them.
    pub grams: Vec<u32>,
}

/// The penalties on the squares of the weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Penalty {
    pub measures: f64,
    pub grams: f64,
}

/// The weights of a fitted regression.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    pub measures: [f64; DENSE],
    /// One weight per bucket.
    pub grams: Vec<f64>,
    pub bias: f64,
}

impl Weights {
    /// Predicts the target of a row.
    pub fn predict(&self, row: &Row) -> f64 {
        let dense: f64 = row.measures.iter().zip(&self.measures).map(|(x, w)| f64::from(*x) * w).sum();
        let sparse: f64 = row.grams.iter().map(|gram| self.grams[*gram as usize]).sum();
        self.bias + dense + sparse * value(row)
    }
}

fn value(row: &Row) -> f64 {
    1.0 / (row.grams.len().max(1) as f64).sqrt()
}

/// The centred problem in scaled weights `v`, where `w = v s`: `(C^T C + I) v = C^T y`, with `C` the rows times `s`, less their mean.
struct Problem<'a> {
    rows: &'a [&'a Row],
    /// The columns of the n-grams of each row, after the measures. Only buckets that occur have a column.
    columns: Vec<Vec<u32>>,
    width: usize,
    scales: [f64; 2],
    /// The mean row.
    mean: Vec<f64>,
}

impl Problem<'_> {
    /// Computes `A v` for the rows without centring.
    fn forward(&self, v: &[f64]) -> Vec<f64> {
        let of = |(row, columns): (&&Row, &Vec<u32>)| {
            let dense: f64 = row.measures.iter().zip(v).map(|(x, v)| f64::from(*x) * v).sum();
            let sparse: f64 = columns.iter().map(|column| v[*column as usize]).sum();
            dense * self.scales[0] + sparse * value(row) * self.scales[1]
        };
        self.rows.iter().zip(&self.columns).map(of).collect()
    }

    /// Computes `A^T u` without centring.
    fn backward(&self, u: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; self.width];
        for ((row, columns), u) in self.rows.iter().zip(&self.columns).zip(u) {
            let dense = u * self.scales[0];
            out.iter_mut().zip(&row.measures).for_each(|(out, x)| *out += dense * f64::from(*x));
            let sparse = u * value(row) * self.scales[1];
            columns.iter().for_each(|column| out[*column as usize] += sparse);
        }
        out
    }

    /// Computes `C^T C v + v`.
    fn apply(&self, v: &[f64]) -> Vec<f64> {
        let shift = dot(&self.mean, v);
        let u: Vec<f64> = self.forward(v).into_iter().map(|x| x - shift).collect();
        // The centred `u` sums to zero, so that its product with the mean row vanishes.
        let mut out = self.backward(&u);
        out.iter_mut().zip(v).for_each(|(out, v)| *out += v);
        out
    }
}

/// Fits the weights that minimise the squared error plus the penalties; the bias has none.
pub(super) fn fit(rows: &[&Row], targets: &[f64], penalty: Penalty) -> Weights {
    let n = rows.len().max(1) as f64;
    let scales = [1.0 / penalty.measures.sqrt(), 1.0 / penalty.grams.sqrt()];
    let (used, columns) = columns(rows);
    let mut problem = Problem { rows, columns, width: DENSE + used.len(), scales, mean: Vec::new() };
    problem.mean = problem.backward(&vec![1.0 / n; rows.len()]);
    let level = targets.iter().sum::<f64>() / n;
    let centred: Vec<f64> = targets.iter().map(|y| y - level).collect();
    let v = solve(&problem, problem.backward(&centred));
    let bias = level - dot(&problem.mean, &v);
    let mut measures = [0.0; DENSE];
    measures.iter_mut().zip(&v).for_each(|(w, v)| *w = v * scales[0]);
    let mut grams = vec![0.0; GRAM_BUCKETS];
    used.iter().zip(&v[DENSE..]).for_each(|(gram, v)| grams[*gram as usize] = v * scales[1]);
    Weights { measures, grams, bias }
}

/// Returns the buckets that occur, ascending, and the columns of each row's n-grams.
fn columns(rows: &[&Row]) -> (Vec<u32>, Vec<Vec<u32>>) {
    let mut column = vec![0u32; GRAM_BUCKETS];
    rows.iter().flat_map(|row| &row.grams).for_each(|gram| column[*gram as usize] = 1);
    let used: Vec<u32> = (0..GRAM_BUCKETS as u32).filter(|gram| column[*gram as usize] > 0).collect();
    used.iter().enumerate().for_each(|(at, gram)| column[*gram as usize] = (DENSE + at) as u32);
    let of = |row: &&Row| row.grams.iter().map(|gram| column[*gram as usize]).collect();
    (used, rows.iter().map(of).collect())
}

/// Solves the problem by conjugate gradients (Hestenes and Stiefel 1952).
fn solve(problem: &Problem<'_>, right: Vec<f64>) -> Vec<f64> {
    let mut x = vec![0.0; right.len()];
    let mut residual = right;
    let mut direction = residual.clone();
    let mut norm = dot(&residual, &residual);
    let enough = norm * TOLERANCE * TOLERANCE;
    for _ in 0..MOST_STEPS {
        if norm <= enough || norm == 0.0 {
            break;
        }
        let applied = problem.apply(&direction);
        let step = norm / dot(&direction, &applied);
        x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
        residual.iter_mut().zip(&applied).for_each(|(r, a)| *r -= step * a);
        let next = dot(&residual, &residual);
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + next / norm * *d);
        norm = next;
    }
    x
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::super::words::Random;
    use super::*;

    /// The derivative of the objective by each weight and by the bias vanishes at the fitted weights.
    #[test]
    fn the_gradient_vanishes_at_the_fit() {
        let mut random = Random::new(3);
        let mut draw = |n: usize| random.below(n);
        let row = |draw: &mut dyn FnMut(usize) -> usize| {
            let mut measures = [0.0; DENSE];
            measures.iter_mut().take(3).for_each(|x| *x = draw(100) as f32 / 50.0 - 1.0);
            let mut grams: Vec<u32> = (0..5).map(|_| draw(40) as u32).collect();
            grams.sort_unstable();
            grams.dedup();
            Row { measures, grams }
        };
        let rows: Vec<Row> = (0..200).map(|_| row(&mut draw)).collect();
        let targets: Vec<f64> = rows.iter().map(|row| f64::from(row.measures[1]) + draw(100) as f64 / 100.0).collect();
        let penalty = Penalty { measures: 2.0, grams: 5.0 };
        let fitted = fit(&rows.iter().collect::<Vec<_>>(), &targets, penalty);
        let errors: Vec<f64> = rows.iter().zip(&targets).map(|(row, y)| fitted.predict(row) - y).collect();
        assert!(errors.iter().sum::<f64>().abs() < 1e-2);
        for at in 0..3 {
            let slope: f64 = rows.iter().zip(&errors).map(|(row, e)| f64::from(row.measures[at]) * e).sum();
            assert!((slope + penalty.measures * fitted.measures[at]).abs() < 1e-2, "measure {at}");
        }
        for gram in 0..40u32 {
            let has = |(row, e): (&Row, &f64)| row.grams.contains(&gram).then(|| value(row) * e);
            let slope: f64 = rows.iter().zip(&errors).filter_map(has).sum();
            assert!((slope + penalty.grams * fitted.grams[gram as usize]).abs() < 1e-2, "n-gram {gram}");
        }
        assert!(fitted.measures[1] > 0.8 && fitted.grams[41] == 0.0);
    }
}
