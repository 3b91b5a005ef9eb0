//! The searches on a model of losses, where the truth is known.

use honelm_backend::uniform;
use honelm_blocks::Encoding;
use honelm_model::Slot;

use super::evolution::evolve;
use super::search::{Judge, search};
use super::units::{Level, Levels, Unit, bytes_of};
use crate::Error;

/// A loss that is nearly the sum of its units': each unit's differs from its prediction, and neighbours interact.
struct Truth {
    units: Vec<Unit>,
    factors: Vec<f64>,
    measured: usize,
}

impl Truth {
    fn new(count: usize) -> Self {
        let random = |stream: u64, u: usize| f64::from(uniform(7, stream, u as u64, 0));
        let unit = |u: usize| {
            let (size, sensitivity) = (1 + (random(1, u) * 4.0) as u64, (random(2, u) * 6.0).exp() * 1e-5);
            let level = |l: usize| Level {
                encoding: Encoding::Q4K,
                bytes: size * 1024 * (l as u64 + 3),
                kl: sensitivity / f64::from(1 << (2 * l)),
            };
            Unit { slots: vec![Slot { layer: Some(u), module: "q" }], levels: (0..5).map(level).collect() }
        };
        let factors = (0..count).map(|u| (random(3, u) - 0.5).exp()).collect();
        Self { units: (0..count).map(unit).collect(), factors, measured: 0 }
    }
}

impl Judge for Truth {
    fn kl(&mut self, levels: &[usize]) -> Result<f64, Error> {
        self.measured += 1;
        let single: Vec<f64> =
            (0..levels.len()).map(|u| self.units[u].levels[levels[u]].kl * self.factors[u]).collect();
        let pairs: f64 = single.windows(2).map(|pair| 0.2 * (pair[0] * pair[1]).sqrt()).sum();
        Ok(single.iter().sum::<f64>() + pairs)
    }

    fn accept(&mut self, _: &[usize]) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn the_search_gains_and_beats_evolution_with_as_many_measurements() {
    let mut truth = Truth::new(40);
    let units = truth.units.clone();
    let bytes = bytes_of(&units, &vec![2; units.len()]) + 700;
    // Each unit's prediction took one measurement.
    let found = search(&units, bytes, 60, 60, &mut truth).expect("measured").expect("fits");
    let measured = truth.measured + units.len();
    assert!(bytes_of(&units, &found.levels) <= bytes);
    assert!(found.kl < 0.97 * found.first, "{} {}", found.kl, found.first);
    truth.measured = 0;
    let evolved = evolve(&units, bytes, measured, &mut truth).expect("measured").expect("fits");
    assert_eq!(truth.measured, measured);
    assert!(bytes_of(&units, &evolved.levels) <= bytes);
    assert!(evolved.kl < evolved.first, "evolution works: {} {}", evolved.kl, evolved.first);
    assert!(found.kl < 0.9 * evolved.kl, "{} {}", found.kl, evolved.kl);
    // The same measurements give the same mix.
    let again = search(&units, bytes, 60, 60, &mut truth).expect("measured").expect("fits");
    assert_eq!(again, found);
}

#[test]
fn a_size_that_nothing_fits_gives_no_mix_and_the_smallest_gives_one() {
    let mut truth = Truth::new(5);
    let units = truth.units.clone();
    let smallest: Levels = vec![0; 5];
    let bytes = bytes_of(&units, &smallest);
    assert!(search(&units, bytes - 1, 9, 9, &mut truth).expect("measured").is_none());
    assert!(evolve(&units, bytes - 1, 9, &mut truth).expect("measured").is_none());
    let found = search(&units, bytes, 9, 9, &mut truth).expect("measured").expect("fits");
    assert_eq!(found.levels, smallest);
}
