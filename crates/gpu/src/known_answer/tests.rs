use honelm_backend::{Value, block_on};
use honelm_testing::Naive;

use super::*;
use crate::pack::tests::text::layouts;

/// The answers themselves are right: a back end that computes every operation in double precision gives them all.
#[test]
fn the_answers_are_those_of_the_definitions() {
    let marks = block_on(ask(&mut Naive::new(), &layouts())).unwrap();
    assert_eq!(marks.wrong, []);
    assert!(marks.asked > 4 * layouts().len(), "{} questions", marks.asked);
}
