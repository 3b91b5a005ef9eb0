//! The search for the best mix of a size, by measured divergences.

use std::collections::BTreeSet;

use super::knapsack::Knapsack;
use super::units::{Levels, Unit, bytes_of};
use crate::Error;

/// The standard deviation, as a share, of the loss that a unit causes in a mix around the one that it causes alone.
const DOUBT: f64 = 0.3;
/// The standard deviation of a measured divergence as a share of it.
const NOISE: f64 = 0.01;
/// The smallest factor by which a unit's loss is corrected.
const LEAST_FACTOR: f64 = 0.1;

/// Measures mixes.
pub(super) trait Judge {
    /// Returns the divergence of a mix.
    fn kl(&mut self, levels: &[usize]) -> Result<f64, Error>;

    /// Is told of a mix that others will be close to.
    fn accept(&mut self, levels: &[usize]) -> Result<(), Error>;
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub levels: Levels,
    /// The measured divergence of these levels.
    pub kl: f64,
    /// The measured divergence of the first mix.
    pub first: f64,
    /// The factor of each unit's predicted loss, as measured in mixes.
    pub factors: Vec<f64>,
}

/// Searches for the mix of at most `bytes` with the lowest measured divergence, from `evaluations` measurements; ends after
/// `patience` of them in a row without gain.
///
/// The loss of a mix is the sum of its units' predicted losses, each times a factor. A measurement corrects the factors (the
/// least-squares update of a Kalman filter). The next mix is the best of its size by the corrected losses; where that is
/// known, the neighbour of the best one - one unit in a larger encoding, another in a smaller one - that promises most.
pub(super) fn search(
    units: &[Unit],
    bytes: u64,
    evaluations: usize,
    patience: usize,
    judge: &mut dyn Judge,
) -> Result<Option<Found>, Error> {
    let ones = vec![1.0; units.len()];
    let Some(first) = Knapsack::new(units, &ones, bytes).levels(bytes) else { return Ok(None) };
    let measured = judge.kl(&first)?;
    judge.accept(&first)?;
    let mut model = Model::new(units, &first, measured);
    let mut known = BTreeSet::from([first.clone()]);
    let mut best = Found { levels: first, kl: measured, first: measured, factors: Vec::new() };
    let mut idle = 0;
    for _ in 1..evaluations {
        let planned =
            Knapsack::new(units, &model.factors, bytes).levels(bytes).filter(|levels| !known.contains(levels));
        let Some(next) = planned.or_else(|| model.neighbour(&best.levels, bytes, &known)) else { break };
        let kl = judge.kl(&next)?;
        model.learn(&next, kl);
        known.insert(next.clone());
        if kl < best.kl {
            judge.accept(&next)?;
            (best.levels, best.kl, idle) = (next, kl, 0);
        } else {
            idle += 1;
        }
        if idle >= patience {
            break;
        }
    }
    best.factors = model.factors;
    Ok(Some(best))
}

/// The losses of units in mixes.
struct Model<'u> {
    units: &'u [Unit],
    factors: Vec<f64>,
    /// The covariance of the factors. // [units, units]
    covariance: Vec<f64>,
}

impl<'u> Model<'u> {
    /// Scales all losses to the first measurement: together, roundings may cost more or less than alone.
    fn new(units: &'u [Unit], levels: &[usize], measured: f64) -> Self {
        let n = units.len();
        let alone: f64 = units.iter().zip(levels).map(|(unit, &level)| unit.levels[level].kl).sum();
        let scale = if alone > 0.0 { measured / alone } else { 1.0 };
        let mut covariance = vec![0.0; n * n];
        (0..n).for_each(|u| covariance[u * n + u] = (DOUBT * scale).powi(2));
        Self { units, factors: vec![scale; n], covariance }
    }

    fn losses(&self, levels: &[usize]) -> Vec<f64> {
        self.units.iter().zip(levels).map(|(unit, &level)| unit.levels[level].kl).collect()
    }

    /// Corrects the factors by a measurement: K = P x / (x^T P x + r), f += K (y - x^T f), P -= K x^T P.
    fn learn(&mut self, levels: &[usize], measured: f64) {
        let n = self.units.len();
        let x = self.losses(levels);
        let px: Vec<f64> = self.covariance.chunks(n).map(|row| row.iter().zip(&x).map(|(p, x)| p * x).sum()).collect();
        let variance: f64 = px.iter().zip(&x).map(|(p, x)| p * x).sum::<f64>() + (NOISE * measured).powi(2);
        if !(variance > 0.0 && variance.is_finite()) {
            return;
        }
        let off = measured - x.iter().zip(&self.factors).map(|(x, f)| x * f).sum::<f64>();
        for (u, factor) in self.factors.iter_mut().enumerate() {
            *factor = (*factor + px[u] / variance * off).max(LEAST_FACTOR);
            for v in 0..n {
                self.covariance[u * n + v] -= px[u] * px[v] / variance;
            }
        }
    }

    /// Returns the neighbour of `levels` that promises the lowest loss: one unit's level changes, or two units'.
    fn neighbour(&self, levels: &[usize], bytes: u64, known: &BTreeSet<Levels>) -> Option<Levels> {
        let room = bytes.checked_sub(bytes_of(self.units, levels))? as i64;
        let mut moves = Vec::new();
        for (u, unit) in self.units.iter().enumerate() {
            let now = unit.levels[levels[u]];
            for (at, level) in unit.levels.iter().enumerate().filter(|(at, _)| *at != levels[u]) {
                moves.push((u, at, level.bytes as i64 - now.bytes as i64, (level.kl - now.kl) * self.factors[u]));
            }
        }
        let mut pairs = Vec::new();
        for (i, &(u, _, size, loss)) in moves.iter().enumerate() {
            if size <= room && loss < 0.0 {
                pairs.push((loss, i, None));
            }
            for (j, &(v, other, ..)) in moves.iter().enumerate().skip(i + 1) {
                let (more, change) = (size + moves[j].2, loss + moves[j].3);
                // Both larger or both smaller is no exchange.
                let exchanges = size.signum() != moves[j].2.signum();
                if u != v && more <= room && exchanges {
                    pairs.push((change, i, Some((v, other))));
                }
            }
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let apply = |&(_, i, second): &(f64, usize, Option<(usize, usize)>)| {
            let mut next = levels.to_vec();
            next[moves[i].0] = moves[i].1;
            if let Some((v, at)) = second {
                next[v] = at;
            }
            next
        };
        pairs.iter().map(apply).find(|next| !known.contains(next))
    }
}
