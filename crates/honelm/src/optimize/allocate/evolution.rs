//! A plain evolutionary search (Sieberling et al. 2024, EvoPress), with which the other search is compared.

use honelm_backend::uniform;

use super::search::{Found, Judge};
use super::units::{Levels, Unit, bytes_of};
use crate::Error;

/// The number of mutants in a generation.
const MUTANTS: usize = 8;
/// The most exchanges of a mutant.
const EXCHANGES: usize = 3;
/// The number of attempts to find an exchange of the right size.
const ATTEMPTS: u64 = 64;
const SEED: u64 = 1;

/// Searches for the mix of at most `bytes` with the lowest measured divergence, from `evaluations` measurements.
///
/// Begins with the same bits everywhere. In each generation mutants of the best mix exchange bits between random units - one
/// a step up, others a step down until the size fits - and the best of all survives.
pub(super) fn evolve(
    units: &[Unit],
    bytes: u64,
    evaluations: usize,
    judge: &mut dyn Judge,
) -> Result<Option<Found>, Error> {
    let Some(start) = even(units, bytes) else { return Ok(None) };
    let first = judge.kl(&start)?;
    judge.accept(&start)?;
    let (mut best, mut kl, mut done) = (start, first, 1);
    let mut generation = 0;
    while done < evaluations {
        generation += 1;
        let mut survivor: Option<(Levels, f64)> = None;
        for mutant in 0..MUTANTS.min(evaluations - done) as u64 {
            let mut random = Random { stream: generation, number: mutant << 32 };
            let levels = mutated(units, &best, bytes, &mut random);
            let found = judge.kl(&levels)?;
            done += 1;
            if found < survivor.as_ref().map_or(kl, |(_, kl)| *kl) {
                survivor = Some((levels, found));
            }
        }
        if let Some((levels, found)) = survivor {
            judge.accept(&levels)?;
            (best, kl) = (levels, found);
        }
    }
    Ok(Some(Found { levels: best, kl, first, factors: vec![1.0; units.len()] }))
}

/// Returns the largest levels of about the same bits that fit; room that is left goes to the first units.
fn even(units: &[Unit], bytes: u64) -> Option<Levels> {
    let most = units.iter().map(|unit| unit.levels.len()).max()?;
    let at = |level: usize| units.iter().map(|unit| level.min(unit.levels.len() - 1)).collect::<Levels>();
    let mut levels = (0..most).rev().map(at).find(|levels| bytes_of(units, levels) <= bytes)?;
    for (u, unit) in units.iter().enumerate() {
        if levels[u] + 1 < unit.levels.len() {
            levels[u] += 1;
            if bytes_of(units, &levels) > bytes {
                levels[u] -= 1;
            }
        }
    }
    Some(levels)
}

struct Random {
    stream: u64,
    number: u64,
}

impl Random {
    /// Returns a number below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.number += 1;
        ((f64::from(uniform(SEED, self.stream, self.number, 0)) * n as f64) as usize).min(n - 1)
    }
}

fn mutated(units: &[Unit], levels: &[usize], bytes: u64, random: &mut Random) -> Levels {
    let mut mutant = levels.to_vec();
    // The smaller of two random numbers: few exchanges are likelier.
    let exchanges = random.below(EXCHANGES).min(random.below(EXCHANGES)) + 1;
    for _ in 0..exchanges {
        let before = mutant.clone();
        let up = random.below(units.len());
        if mutant[up] + 1 >= units[up].levels.len() {
            continue;
        }
        mutant[up] += 1;
        let mut attempts = 0;
        while bytes_of(units, &mutant) > bytes && attempts < ATTEMPTS {
            attempts += 1;
            let down = random.below(units.len());
            if down != up && mutant[down] > 0 {
                mutant[down] -= 1;
            }
        }
        if bytes_of(units, &mutant) > bytes {
            mutant = before;
        }
    }
    mutant
}
