//! Folds of labelled requests.

use super::traffic::Labelled;
use super::words::Random;

/// Assigns each row to one of `folds` folds. Rows of a group stay together if every row has a group and there are at least as many
/// groups as folds; otherwise single rows are dealt. The seed decides the order.
pub(super) fn assign(rows: &[&Labelled], folds: usize, seed: u64, keep_groups: bool) -> Vec<usize> {
    let mut random = Random::new(seed);
    if keep_groups && let Some(mut names) = groups(rows).filter(|names| names.len() >= folds) {
        let sorted = names.clone();
        random.shuffle(&mut names);
        let mut fold_of = vec![0; names.len()];
        for (at, name) in names.iter().enumerate() {
            if let Ok(place) = sorted.binary_search(name) {
                fold_of[place] = at % folds;
            }
        }
        let fold = |row: &&Labelled| {
            let place = row.group.as_deref().and_then(|group| sorted.binary_search(&group).ok());
            place.map_or(0, |place| fold_of[place])
        };
        return rows.iter().map(fold).collect();
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    random.shuffle(&mut order);
    let mut out = vec![0; rows.len()];
    order.into_iter().enumerate().for_each(|(at, row)| out[row] = at % folds);
    out
}

/// Returns the names of the groups, sorted; `None` if a row has none.
pub(super) fn groups<'a>(rows: &[&'a Labelled]) -> Option<Vec<&'a str>> {
    let mut names: Vec<&str> = rows.iter().map(|row| row.group.as_deref()).collect::<Option<_>>()?;
    names.sort_unstable();
    names.dedup();
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_together_and_folds_are_even() {
        let rows: Vec<Labelled> =
            (0..120).map(|i| Labelled::test("x", 0.0, 1.0, Some(&format!("g{}", i % 12)))).collect();
        let rows: Vec<&Labelled> = rows.iter().collect();
        let folds = assign(&rows, 5, 0, true);
        for (i, fold) in folds.iter().enumerate() {
            assert_eq!(*fold, folds[i % 12]);
        }
        assert!((0..5).all(|fold| folds.iter().filter(|f| **f == fold).count() >= 20));
        assert_ne!(folds, assign(&rows, 5, 1, true));
        let apart = assign(&rows, 5, 0, false);
        assert!((0..5).all(|fold| apart.iter().filter(|f| **f == fold).count() == 24));
        assert!(apart.chunks(12).any(|chunk| chunk != &apart[..12]));
    }
}
