//! AWQ's clipping (Lin et al. 2023, section 3.2 and the authors' `auto_clip.py`): the range of every group is cut where
//! that lowers the output error.

use std::ops::Range;

use honelm_blocks::{BlockError, Encoding, Fit};
use honelm_tensor::Matrix;
use serde::{Deserialize, Serialize};

use super::{Method, Needs, Scales};
use crate::linalg::row_quadratics;
use crate::parallel::for_each;
use crate::rounding::{grid, round};
use crate::scaling::encoded;
use crate::target::Target;
use crate::{Change, CompressError, Stage};

/// Settings of the clipping search.
///
/// For every group of every row the weights are limited to the share of max |w| that minimises (D x)^2 summed over the
/// inputs x of the group, D being the change of the group's weights by clipping and rounding. The weights stay floats; a
/// later step rounds them. Encodings without a plain fit are left alone: they search their scales themselves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clip {
    /// The number of shares tried, from 1 downward.
    pub steps: usize,
    /// The end of the range of shares, not tried itself.
    pub lowest: f32,
    /// `true` to clip q and k (and a fused qkv) as well. The authors leave them out: their errors meet in a product.
    pub queries: bool,
}

impl Default for Clip {
    fn default() -> Self {
        Self { steps: 10, lowest: 0.5, queries: false }
    }
}

/// The modules whose outputs meet in the product of attention scores.
const QUERIES: [&str; 3] = ["q", "k", "qkv"];

impl Method for Clip {
    fn needs(&self) -> Needs {
        Needs::Inputs
    }

    fn precedes(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        if (1..=1000).contains(&self.steps) && (0.0..1.0).contains(&self.lowest) {
            return Ok(());
        }
        Err(format!("steps {}, lowest {}: expected 1 to 1000 steps and a share from 0 to 1", self.steps, self.lowest))
    }

    fn apply(&self, stage: &mut Stage<'_>) -> Result<Vec<Change>, CompressError> {
        let h = stage.statistics()?.hessian.dense();
        let mut changes = Vec::new();
        for module in stage.modules() {
            let target = stage.target(module);
            let Some(grid) = grid(target, Fit::MinMax).filter(|grid| grid.has_plain_fit()) else { continue };
            if QUERIES.contains(&module.name) && !self.queries {
                continue;
            }
            let mut parameter = stage.parameter(module.name)?;
            let mut w = parameter.weight.dequantize();
            let group = if grid.group_size() == 0 { w.cols } else { grid.group_size() };
            let clipped = self.clip(&mut w, group, target, &h, stage.threads());
            let clipped = clipped.and_then(|()| encoded(&w, Encoding::F32));
            parameter.weight = clipped.map_err(|source| stage.weight_error(module.name, source))?;
            changes.push(Change { module: module.name, parameter });
        }
        Ok(changes)
    }
}

impl Clip {
    /// Clips W `[M, K]` in place, one task per group of columns.
    fn clip(&self, w: &mut Matrix, group: usize, target: Target, h: &Matrix, threads: usize) -> Result<(), BlockError> {
        let columns: Vec<Range<usize>> = (0..w.cols).step_by(group).map(|a| a..(a + group).min(w.cols)).collect();
        let mut limits: Vec<Result<Vec<f32>, BlockError>> = columns.iter().map(|_| Ok(Vec::new())).collect();
        let values = &*w;
        for_each(columns.iter().zip(&mut limits).collect(), threads, |_, (columns, limits)| {
            let part = |m: &Matrix, rows: Range<usize>| {
                let rows_of = rows.len();
                Matrix::new(rows_of, columns.len(), rows.flat_map(|r| m.row(r)[columns.clone()].to_vec()).collect())
            };
            *limits = self.limits(&part(values, 0..values.rows), target, &part(h, columns.clone()));
        });
        for (columns, limits) in columns.into_iter().zip(limits) {
            for (r, limit) in limits?.into_iter().enumerate() {
                w.row_mut(r)[columns.clone()].iter_mut().for_each(|x| *x = x.clamp(-limit, limit));
            }
        }
        Ok(())
    }

    /// Returns the largest |w| to keep in each row of one group. // W [M, g], H [g, g] -> `[M]`
    fn limits(&self, w: &Matrix, target: Target, h: &Matrix) -> Result<Vec<f32>, BlockError> {
        let largest: Vec<f32> = w.iter_rows().map(|row| row.iter().fold(0f32, |m, x| m.max(x.abs()))).collect();
        let mut best: Vec<(f64, f32)> = largest.iter().map(|&m| (f64::INFINITY, m)).collect();
        for step in 0..self.steps {
            let share = 1.0 - (1.0 - self.lowest) * step as f32 / self.steps as f32;
            let mut clipped = w.clone();
            for (r, m) in largest.iter().enumerate() {
                clipped.row_mut(r).iter_mut().for_each(|x| *x = x.clamp(-share * m, share * m));
            }
            let mut d = round(&clipped, target, Scales::MinMax, None, 1)?.dequantize();
            d.data.iter_mut().zip(&w.data).for_each(|(d, w)| *d -= w);
            for ((best, error), m) in best.iter_mut().zip(row_quadratics(&d, h)).zip(&largest) {
                if error < best.0 {
                    *best = (error, share * m);
                }
            }
        }
        Ok(best.into_iter().map(|(_, limit)| limit).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_on_an_input_without_weight_is_cut_and_nothing_else() {
        let mut w = Matrix::new(2, 32, (0..64).map(|i| ((i * 37) % 41) as f32 / 20.0 - 1.0).collect());
        w.row_mut(0)[7] = 5.0;
        let before = w.clone();
        let mut h = Matrix::zeros(32, 32);
        (0..32).for_each(|c| h.row_mut(c)[c] = if c == 7 { 0.0 } else { 1.0 });
        let target = Target::groups(4, 32, false);
        Clip::default().clip(&mut w, 32, target, &h, 2).expect("finite");
        assert!((2.5..3.0).contains(&w.row(0)[7]), "{}", w.row(0)[7]);
        let same = |r: usize| w.row(r).iter().zip(before.row(r)).filter(|(a, b)| a == b).count();
        assert_eq!(same(0), 31);
        assert!(w.row(1).iter().all(|x| x.abs() >= 0.0));
    }

    #[test]
    fn groups_of_zeros_stay_zero() {
        let mut w = Matrix::zeros(1, 32);
        let h = Matrix::zeros(32, 32);
        let target = Target::groups(4, 32, false);
        Clip::default().clip(&mut w, 32, target, &h, 1).expect("finite");
        assert_eq!(w.data, [0.0; 32]);
    }
}
