//! Refinement of rows whose groups have integer multiples of their superblock's numbers: v = d sc c(q) - dmin m.

use std::ops::{Range, RangeInclusive};

use half::f16;
use honelm_blocks::{GroupParams, SuperblockScales, TwoLevel};
use honelm_tensor::Matrix;
use ndarray::Axis;

use crate::linalg::{multiply, view, view_mut};
use crate::polish::Tile;
use crate::settle::{Found, Group, add, each_group, feed};

/// Takes the numbers of least error for every superblock, and then the integers and codes of least error for every group.
/// Returns the gradients G = (V - W) H. // -> [rows, K]
pub(crate) fn refit(tile: &mut Tile<'_>, rule: &TwoLevel) -> Matrix {
    let mut gradients = tile.gradients();
    let subs = tile.grid.superblock() / tile.group_size();
    let solved: Option<Vec<SuperblockScales>> = tile.params.chunks(subs).map(|params| rule.solve(params)).collect();
    // Parameters that are not finite have no such form.
    let Some(scales) = solved else { return gradients };
    let one = GroupParams { scale: 1.0, offset: 0.0 };
    let (_, high) = tile.grid.codes();
    let levels = (0..=high).map(|q| tile.grid.value(one, q)).collect();
    let mut superblocks = Superblocks { rule, subs, levels, scales };
    superblocks.fit_numbers(tile, &mut gradients);
    superblocks.fit_integers(tile, &mut gradients);
    gradients
}

struct Superblocks<'t> {
    rule: &'t TwoLevel,
    /// The number of groups per superblock.
    subs: usize,
    /// c(q) of every code.
    levels: Vec<f32>,
    /// The numbers of the superblocks. // [rows, superblocks]
    scales: Vec<SuperblockScales>,
}

impl Superblocks<'_> {
    fn has_minimum(&self) -> bool {
        *self.rule.minima.end() > 0
    }

    /// Takes the d and dmin of least error with integers and codes kept, superblock after superblock.
    fn fit_numbers(&mut self, tile: &mut Tile<'_>, gradients: &mut Matrix) {
        let (rows, k, size) = (tile.w.rows, tile.w.cols, tile.group_size());
        let superblock = size * self.subs;
        let superblocks = k / superblock;
        // v = d T + dmin M.
        let (mut t, mut m) = (vec![0f32; rows * superblock], vec![0f32; rows * superblock]);
        let mut mh = vec![0f32; rows * superblock];
        for n in 0..superblocks {
            let columns = n * superblock..(n + 1) * superblock;
            for r in 0..rows {
                let scales = &self.scales[r * superblocks + n];
                let codes = &tile.codes[r * k + columns.start..r * k + columns.end];
                let out = t[r * superblock..].iter_mut().zip(&mut m[r * superblock..]);
                for (i, (&q, (t, m))) in codes.iter().zip(out).enumerate() {
                    *t = scales.sc[i / size] as f32 * self.levels[usize::from(q)];
                    *m = -scales.m[i / size] as f32;
                }
            }
            let th = times(&t, rows, tile.h, columns.clone());
            if self.has_minimum() {
                mh = times(&m, rows, tile.h, columns.clone());
            }
            let mut change = vec![0f32; rows * superblock];
            let mut moved = false;
            for r in 0..rows {
                let own = r * superblock..(r + 1) * superblock;
                let (t, m, th, mh) = (&t[own.clone()], &m[own.clone()], &th[own.clone()], &mh[own.clone()]);
                let g = &gradients.row(r)[columns.clone()];
                let quadratic =
                    Quadratic { xx: dot(t, th), xy: dot(m, th), yy: dot(m, mh), x: dot(t, g), y: dot(m, g) };
                let scales = &mut self.scales[r * superblocks + n];
                let Some((d, dmin)) = quadratic.numbers(scales) else { continue };
                let (by_d, by_min) = (d - scales.d, dmin - scales.dmin);
                (scales.d, scales.dmin, moved) = (d, dmin, true);
                for ((x, t), m) in change[own].iter_mut().zip(t).zip(m) {
                    *x = by_d * t + by_min * m;
                }
                let first = r * tile.groups + n * self.subs;
                let params = &mut tile.params[first..first + self.subs];
                params.iter_mut().enumerate().for_each(|(j, p)| *p = scales.group(j));
            }
            if moved {
                feed(&change, tile.h, columns, gradients);
            }
        }
    }

    /// Takes for every group, one after the other, the integers and codes of least error among those around its own.
    fn fit_integers(&mut self, tile: &mut Tile<'_>, gradients: &mut Matrix) {
        let superblocks = tile.groups / self.subs;
        each_group(tile, gradients, |r, j, group| {
            let at = j % self.subs;
            let scales = self.scales[r * superblocks + j / self.subs];
            if scales.d == 0.0 {
                return None;
            }
            let choices = self.integers(&scales, at, group).into_iter();
            let found = group.best(choices.map(|(sc, m)| ((sc, m), scales.with(at, sc, m).group(at))))?;
            let scales = scales.with(at, found.choice.0, found.choice.1);
            self.scales[r * superblocks + j / self.subs] = scales;
            Some(Found { choice: scales.group(at), codes: found.codes, change: found.change })
        });
    }

    /// Returns the integers to try: those that are best with the codes kept, the present ones and their neighbours.
    fn integers(&self, scales: &SuperblockScales, at: usize, group: &Group<'_>) -> Vec<(i32, i32)> {
        let (sc, m) = (scales.sc[at], scales.m[at]);
        let (x, y) = self.steps(scales, group);
        let reach = if self.has_minimum() { -1..=1 } else { 0..=0 };
        let mut tried = Vec::with_capacity(11);
        let around = [-1, 0, 1].into_iter().flat_map(|x| reach.clone().map(move |y| (x, y)));
        for (x, y) in [(x, y), (0, 0)].into_iter().chain(around) {
            let clamp = |q: i32, range: &RangeInclusive<i32>| q.clamp(*range.start(), *range.end());
            let integers = (clamp(sc + x * self.rule.step, &self.rule.scales), clamp(m + y, &self.rule.minima));
            if !tried.contains(&integers) {
                tried.push(integers);
            }
        }
        tried
    }

    /// Returns the steps of the integers that are best with the codes kept, rounded.
    fn steps(&self, scales: &SuperblockScales, group: &Group<'_>) -> (i32, i32) {
        let g = group.codes.len();
        let t: Vec<f32> = group.codes.iter().map(|&q| self.levels[usize::from(q)]).collect();
        let mut th = vec![0f32; g];
        t.iter().zip(group.h.chunks(g)).for_each(|(&t, h)| add(&mut th, t, h));
        let total = |x: &[f32]| x.iter().map(|&x| f64::from(x)).sum::<f64>();
        let quadratic = Quadratic {
            xx: dot(&t, &th),
            xy: -total(&th),
            yy: if self.has_minimum() { total(group.h) } else { 0.0 },
            x: dot(&t, group.gradient),
            y: -total(group.gradient),
        };
        let (x, y) = quadratic.minimum();
        // The cast makes 0 of NaN.
        let step = |x: f64, factor: f32| (x / f64::from(factor)).round().clamp(-255.0, 255.0) as i32;
        (step(x, scales.d * self.rule.step as f32), step(y, scales.dmin))
    }
}

/// The change of the error by changes (a, b) of two numbers: xx a^2 + 2 xy a b + yy b^2 + 2 x a + 2 y b.
struct Quadratic {
    xx: f64,
    xy: f64,
    yy: f64,
    x: f64,
    y: f64,
}

impl Quadratic {
    fn value(&self, a: f64, b: f64) -> f64 {
        a * (self.xx * a + 2.0 * (self.xy * b + self.x)) + b * (self.yy * b + 2.0 * self.y)
    }

    /// Returns the changes of least error; the second is 0 where they are undetermined.
    fn minimum(&self) -> (f64, f64) {
        let det = self.xx * self.yy - self.xy * self.xy;
        if det > 1e-9 * self.xx * self.yy {
            ((self.xy * self.y - self.yy * self.x) / det, (self.xy * self.x - self.xx * self.y) / det)
        } else {
            (-self.x / self.xx, 0.0)
        }
    }

    /// Returns storable d and dmin with less error than the present ones.
    fn numbers(&self, now: &SuperblockScales) -> Option<(f32, f32)> {
        let half = |x: f64| f16::from_f64(x).to_f32();
        let (d, dmin) = (f64::from(now.d), f64::from(now.dmin));
        let (a, b) = self.minimum();
        // The best minimum for a rounded d.
        let minimum = |new_d: f32| dmin - (self.y + self.xy * (f64::from(new_d) - d)) / self.yy;
        let solved = half(d + a);
        let offers = [
            (solved, half(dmin + b)),
            (solved, half(minimum(solved).max(0.0))),
            (now.d, half(minimum(now.d).max(0.0))),
            (half(d - self.x / self.xx), now.dmin),
        ];
        let (mut best, mut least) = (None, 0.0);
        for (new_d, new_min) in offers {
            let error = self.value(f64::from(new_d) - d, f64::from(new_min) - dmin);
            // A sign never changes.
            let is_usable = new_d.is_finite() && new_min.is_finite() && new_d * now.d > 0.0 && new_min >= 0.0;
            if is_usable && error < least {
                (best, least) = (Some((new_d, new_min)), error);
            }
        }
        best
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Returns A times the part of H in `columns`. // A [rows, columns] -> [rows, columns]
fn times(a: &[f32], rows: usize, h: &Matrix, columns: Range<usize>) -> Vec<f32> {
    let n = columns.len();
    let mut out = vec![0f32; rows * n];
    let part = view(&h.data, h.rows, h.cols);
    let part = part.slice_axis(Axis(0), columns.clone().into()).slice_axis_move(Axis(1), columns.into());
    multiply(1.0, view(a, rows, n), part, 0.0, &mut view_mut(&mut out, rows, n));
    out
}
