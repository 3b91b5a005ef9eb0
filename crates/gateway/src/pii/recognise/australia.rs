//! Australia.

use super::checks::{digits, uniform, weighted};
use super::{Check, Kind, Recogniser};

pub(super) const RECOGNISERS: &[Recogniser] = &[
    Recogniser {
        kind: Kind::AuAbn,
        patterns: &[("9{2}! 9{3}! 9{3}! 9{3}", 0.5), ("9{11}", 0.1)],
        check: |id| {
            // One less in the first digit, weights, modulus 89.
            let sum = weighted(id, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
            right(!id.starts_with('0') && sum >= 10 && (sum - 10).is_multiple_of(89))
        },
        context: &["australian business number", "abn"],
    },
    Recogniser {
        kind: Kind::AuAcn,
        patterns: &[("9{3}! 9{3}! 9{3}", 0.2), ("9{9}", 0.05)],
        check: |id| {
            let sum = weighted(id, &[8, 7, 6, 5, 4, 3, 2, 1]);
            right(digits(id).last() == Some((10 - sum % 10) % 10))
        },
        context: &["australian company number", "acn"],
    },
    Recogniser {
        kind: Kind::AuTfn,
        patterns: &[("9{3}! 9{3}! 9{3}", 0.2), ("9{9}", 0.05)],
        check: |id| right(!uniform(id) && weighted(id, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)),
        context: &["tax file number", "tfn"],
    },
    Recogniser {
        kind: Kind::AuMedicare,
        patterns: &[("[2-6]9{3}! 9{5}! 9", 0.5), ("[2-6]9{9}", 0.1)],
        check: |id| right(digits(id).nth(8) == Some(weighted(id, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10)),
        context: &["medicare"],
    },
];

fn right(right: bool) -> Check {
    if right { Check::Unknown } else { Check::Wrong }
}
