//! The comparison of two records, test by test.

use serde::Serialize;

use crate::records::geometric_mean;
use crate::{BenchError, Figure, Interval, Record};

/// The difference of two rates up to which they count as equal, however small the noise is.
pub const MARGIN: f64 = 0.02;

/// The relation of the samples of two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pairing {
    /// The records were measured one after the other.
    Unpaired,
    /// The runs of both were measured in turns: each sample has its partner at the same place.
    Paired,
}

/// The result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The second is slower than the first, beyond noise and [`MARGIN`].
    Slower,
    /// The second is faster than the first, beyond noise and [`MARGIN`].
    Faster,
    /// No difference beyond noise and [`MARGIN`].
    Equal,
    /// There are too few samples for an interval.
    Unknown,
}

/// The comparison of a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The name of the test; both names where they differ.
    pub test: String,
    /// `tok/s` or `s`.
    pub unit: &'static str,
    /// The mean of the first record.
    pub first: f64,
    /// The mean of the second record.
    pub second: f64,
    /// The numbers of samples.
    pub samples: [usize; 2],
    /// The second over the first.
    pub ratio: f64,
    /// The lower end of its 95% confidence interval.
    pub lower95: Option<f64>,
    /// The upper end.
    pub upper95: Option<f64>,
    /// The result.
    pub verdict: Verdict,
    /// The models and devices.
    pub setups: [String; 2],
}

/// The comparison of two records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The files.
    pub records: [String; 2],
    /// The programs that measured.
    pub programs: [String; 2],
    /// The relation of the samples.
    pub pairing: Pairing,
    /// The tests that both records have.
    pub tests: Vec<Difference>,
    /// The tests that only one of them has.
    pub unmatched: Vec<String>,
}

/// Compares the tests that two records share: those of the same name, then the ones that are the only ones of their kind.
///
/// # Errors
/// [`BenchError::InvalidRecord`] if they share none, or if paired samples have different numbers.
pub fn compare(first: &Record, second: &Record, pairing: Pairing) -> Result<Comparison, BenchError> {
    let (pairs, unmatched) = matched(first, second);
    let invalid = |problem: String| BenchError::InvalidRecord { name: second.name.clone(), problem };
    if pairs.is_empty() {
        let of = |record: &Record| record.figures.iter().map(|f| f.test.clone()).collect::<Vec<_>>().join(", ");
        let (found, expected) = (of(second), of(first));
        return Err(invalid(format!("found the tests {found}; expected one of {}: {expected}", first.name)));
    }
    let tests = pairs.iter().map(|(a, b)| difference(a, b, pairing).map_err(invalid)).collect::<Result<_, _>>()?;
    Ok(Comparison {
        records: [first.name.clone(), second.name.clone()],
        programs: [first.program.clone(), second.program.clone()],
        pairing,
        tests,
        unmatched,
    })
}

/// Returns the pairs of figures, and the names of those without a partner.
fn matched<'a>(first: &'a Record, second: &'a Record) -> (Vec<(&'a Figure, &'a Figure)>, Vec<String>) {
    let mut left: Vec<&Figure> = first.figures.iter().collect();
    let mut right: Vec<&Figure> = second.figures.iter().collect();
    let mut pairs = Vec::new();
    let same_test = |a: &Figure, b: &Figure| (a.kind, &a.test) == (b.kind, &b.test);
    let same_setup = |a: &Figure, b: &Figure| same_test(a, b) && a.setup == b.setup;
    let same_kind = |a: &Figure, b: &Figure| a.kind == b.kind;
    pair_up(&mut left, &mut right, &mut pairs, &same_setup);
    pair_up(&mut left, &mut right, &mut pairs, &same_test);
    pair_up(&mut left, &mut right, &mut pairs, &same_kind);
    let place = |figure: &Figure| first.figures.iter().position(|other| std::ptr::eq(other, figure));
    pairs.sort_by_key(|(a, _)| place(a));
    let unmatched = left.into_iter().chain(right).map(|figure| format!("{} ({})", figure.test, figure.setup)).collect();
    (pairs, unmatched)
}

/// Moves figures to `pairs` that fit each other and no other one.
fn pair_up<'a>(
    left: &mut Vec<&'a Figure>,
    right: &mut Vec<&'a Figure>,
    pairs: &mut Vec<(&'a Figure, &'a Figure)>,
    fits: &dyn Fn(&Figure, &Figure) -> bool,
) {
    let only = |left: &[&'a Figure], right: &[&'a Figure], a: &Figure| -> Option<&'a Figure> {
        let mut partners = right.iter().filter(|b| fits(a, b));
        let found = *partners.next()?;
        let rivals = left.iter().filter(|other| fits(other, found)).count();
        (partners.next().is_none() && rivals == 1).then_some(found)
    };
    let found: Vec<_> = left.iter().filter_map(|a| only(left, right, a).map(|b| (*a, b))).collect();
    left.retain(|a| !found.iter().any(|(other, _)| std::ptr::eq(*a, *other)));
    right.retain(|b| !found.iter().any(|(_, other)| std::ptr::eq(*b, *other)));
    pairs.extend(found);
}

fn difference(a: &Figure, b: &Figure, pairing: Pairing) -> Result<Difference, String> {
    let samples = [a.samples.len(), b.samples.len()];
    let interval = match pairing {
        Pairing::Unpaired => Interval::unpaired(&a.samples, &b.samples),
        Pairing::Paired if samples[0] != samples[1] => {
            return Err(format!("{}: found {} samples, expected {} for pairs", b.test, samples[1], samples[0]));
        }
        Pairing::Paired => Interval::paired(&a.samples, &b.samples),
    };
    let (first, second) = (geometric_mean(&a.samples), geometric_mean(&b.samples));
    let (more, less) = match a.kind.more_is_better() {
        true => (Verdict::Faster, Verdict::Slower),
        false => (Verdict::Slower, Verdict::Faster),
    };
    let verdict = match interval {
        None => Verdict::Unknown,
        Some(found) if found.upper95 < 1.0 - MARGIN => less,
        Some(found) if found.lower95 > 1.0 + MARGIN => more,
        Some(_) => Verdict::Equal,
    };
    Ok(Difference {
        test: if a.test == b.test { a.test.clone() } else { format!("{} / {}", a.test, b.test) },
        unit: a.kind.unit(),
        first,
        second,
        samples,
        ratio: second / first,
        lower95: interval.map(|found| found.lower95),
        upper95: interval.map(|found| found.upper95),
        verdict,
        setups: [a.setup.clone(), b.setup.clone()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FigureKind;

    /// Returns a record of one test; `samples` are multiplied by `factor`.
    fn record(test: &str, kind: FigureKind, factor: f64, samples: &[f64]) -> Record {
        let samples = samples.iter().map(|sample| sample * factor).collect();
        let figure = Figure { test: test.to_owned(), kind, setup: "m".to_owned(), samples };
        Record { name: format!("{test}.json"), program: "honelm 0.1.0".to_owned(), figures: vec![figure] }
    }

    const NOISE: [f64; 6] = [100.0, 103.0, 98.0, 101.0, 97.0, 102.0];

    fn verdict(kind: FigureKind, factor: f64, samples: &[f64], pairing: Pairing) -> Verdict {
        let (a, b) = (record("t", kind, 1.0, &NOISE), record("t", kind, factor, samples));
        compare(&a, &b, pairing).expect("a shared test").tests[0].verdict
    }

    #[test]
    fn only_what_exceeds_noise_is_slower() {
        let shuffled = [97.0, 101.0, 102.0, 103.0, 98.0, 100.0];
        for pairing in [Pairing::Unpaired, Pairing::Paired] {
            let decode = |factor: f64| verdict(FigureKind::Decode, factor, &shuffled, pairing);
            assert_eq!((decode(1.0), decode(0.98), decode(1.015)), (Verdict::Equal, Verdict::Equal, Verdict::Equal));
            assert_eq!((decode(0.9), decode(1.1)), (Verdict::Slower, Verdict::Faster));
            let first = |factor: f64| verdict(FigureKind::FirstToken, factor, &shuffled, pairing);
            assert_eq!((first(0.9), first(1.1)), (Verdict::Faster, Verdict::Slower));
        }
        // Noise as large as the difference.
        let wild = [60.0, 140.0, 80.0, 120.0, 70.0, 130.0];
        assert_eq!(verdict(FigureKind::Decode, 0.9, &wild, Pairing::Unpaired), Verdict::Equal);
        assert_eq!(verdict(FigureKind::Decode, 0.5, &NOISE[..1], Pairing::Unpaired), Verdict::Unknown);
    }

    #[test]
    fn pairs_find_what_the_noise_of_the_machine_hides() {
        // Every run of the second is 6% slower than its partner; the machine varies by a half.
        let wild = [60.0, 140.0, 80.0, 120.0, 70.0, 130.0];
        let second: Vec<f64> = wild.iter().enumerate().map(|(i, v)| v * (0.94 + 0.002 * i as f64)).collect();
        let (a, b) = (record("t", FigureKind::Decode, 1.0, &wild), record("t", FigureKind::Decode, 1.0, &second));
        let found = |pairing| compare(&a, &b, pairing).expect("a shared test");
        assert_eq!(found(Pairing::Paired).tests[0].verdict, Verdict::Slower);
        assert_eq!(found(Pairing::Unpaired).tests[0].verdict, Verdict::Equal);
        let fewer = record("t", FigureKind::Decode, 1.0, &wild[..4]);
        let error = compare(&a, &fewer, Pairing::Paired).expect_err("no pairs").to_string();
        assert!(error.contains("found 4 samples, expected 6"), "{error}");
    }

    #[test]
    fn tests_match_by_name_and_lone_ones_by_kind() {
        let a = Record {
            figures: [
                record("pp512", FigureKind::Prefill, 1.0, &NOISE),
                record("tg64", FigureKind::Decode, 1.0, &NOISE),
            ]
            .into_iter()
            .flat_map(|record| record.figures)
            .collect(),
            ..record("a", FigureKind::Decode, 1.0, &NOISE)
        };
        let b = record("tg99", FigureKind::Decode, 1.0, &NOISE);
        let found = compare(&a, &b, Pairing::Unpaired).expect("a shared test");
        assert_eq!(found.tests[0].test, "tg64 / tg99");
        assert_eq!(found.unmatched, ["pp512 (m)"]);
        let c = record("ft32", FigureKind::FirstToken, 1.0, &NOISE);
        let error = compare(&b, &c, Pairing::Unpaired).expect_err("nothing shared").to_string();
        assert!(error.contains("found the tests ft32; expected one of tg99.json: tg99"), "{error}");
    }
}
