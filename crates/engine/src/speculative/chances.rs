//! The probability that a proposed token is accepted, by its class.

use super::tree::{Class, Draft};

/// The number of classes.
pub(crate) const CLASSES: usize = NGRAM_CLASSES + MODEL_CLASSES;
const NGRAM_CLASSES: usize = 2 * LENGTHS.len();
const MODEL_CLASSES: usize = 4 * PROBABILITIES.len();
/// The lower ends of the ranges of match lengths, and the acceptance that is expected of each before it was observed.
const LENGTHS: [(usize, f64); 8] =
    [(1, 0.2), (2, 0.35), (3, 0.45), (4, 0.55), (6, 0.65), (8, 0.75), (12, 0.8), (20, 0.85)];
/// The same for the probability that a draft model gives its token.
const PROBABILITIES: [(f64, f64); 8] =
    [(0.0, 0.15), (0.2, 0.3), (0.35, 0.45), (0.5, 0.6), (0.65, 0.7), (0.8, 0.8), (0.9, 0.88), (0.97, 0.95)];
/// The number of observations that the expectation counts for: the first one, and that of all answers in one answer's.
const PRIOR: f64 = 3.0;
const SHARED: f64 = 6.0;
/// The share of the past observations that is kept with each new one.
const KEPT: f64 = 0.98;
/// The largest probability. It is below 1, so a node is always less likely than its parent.
const MOST: f64 = 0.995;

impl Class {
    /// Returns the class of the token that followed an earlier occurrence of the last `length` tokens. `is_second` is true if
    /// another continuation is more likely.
    pub fn of_match(length: usize, is_second: bool) -> Self {
        let at = LENGTHS.iter().rposition(|(from, _)| length >= *from).unwrap_or(0);
        Self(2 * at + usize::from(is_second))
    }

    /// Returns the class of a token to which a draft model gives this probability.
    pub fn of_probability(probability: f64, is_second: bool, is_greedy: bool) -> Self {
        let at = PROBABILITIES.iter().rposition(|(from, _)| probability >= *from).unwrap_or(0);
        Self(NGRAM_CLASSES + 4 * at + 2 * usize::from(is_greedy) + usize::from(is_second))
    }

    /// Returns `true` if a draft model proposed the token.
    pub fn is_models(self) -> bool {
        self.0 >= NGRAM_CLASSES
    }

    /// Returns the probability that is expected before any observation.
    fn prior(self) -> f64 {
        let (at, is_second) = match self.0.checked_sub(NGRAM_CLASSES) {
            None => (LENGTHS[self.0 / 2].1, self.0 % 2 == 1),
            Some(model) => (PROBABILITIES[model / 4].1, model % 2 == 1),
        };
        if is_second { (1.0 - at) * 0.3 } else { at }
    }
}

/// The observations of one class.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    tried: f64,
    accepted: f64,
}

impl Seen {
    fn add(&mut self, is_accepted: bool) {
        self.tried = self.tried * KEPT + 1.0;
        self.accepted = self.accepted * KEPT + f64::from(u8::from(is_accepted));
    }
}

/// The observed acceptance of each class: of one answer, or of all.
#[derive(Debug, Clone)]
pub(crate) struct Chances {
    seen: [Seen; CLASSES],
    /// The tokens of a draft model that were the most likely ones, of all classes.
    model: Seen,
}

impl Default for Chances {
    fn default() -> Self {
        Self { seen: [Seen::default(); CLASSES], model: Seen::default() }
    }
}

impl Chances {
    /// Compares a draft with the tokens that were drawn. The children of every node on their path were tried.
    pub fn observe(&mut self, draft: &Draft, drawn: &[u32]) {
        let mut parent = None;
        for (depth, &token) in drawn.iter().enumerate() {
            let mut next = None;
            for (i, node) in draft.nodes().iter().enumerate() {
                if node.parent == parent && node.depth == depth + 1 {
                    let is_accepted = node.token == token;
                    self.seen[node.class.0].add(is_accepted);
                    if node.class.is_models() && (node.class.0 - NGRAM_CLASSES).is_multiple_of(2) {
                        self.model.add(is_accepted);
                    }
                    if is_accepted {
                        next = Some(i);
                    }
                }
            }
            if next.is_none() {
                return;
            }
            parent = next;
        }
    }

    /// Returns the probability that a token of this class is accepted after its parent was, for an answer with the
    /// observations `own`.
    pub fn of(&self, own: &Self, class: Class) -> f64 {
        let (all, own) = (self.seen[class.0], own.seen[class.0]);
        let shared = (all.accepted + PRIOR * class.prior()) / (all.tried + PRIOR);
        ((own.accepted + SHARED * shared) / (own.tried + SHARED)).min(MOST)
    }

    /// Returns the probability that the most likely token of a draft model is accepted.
    pub fn of_model(&self, own: &Self) -> f64 {
        let shared = (self.model.accepted + PRIOR * 0.7) / (self.model.tried + PRIOR);
        ((own.model.accepted + SHARED * shared) / (own.model.tried + SHARED)).min(MOST)
    }

    /// Returns the probability of each node that it and all of its ancestors are accepted.
    pub fn paths(&self, own: &Self, draft: &Draft) -> Vec<f64> {
        let mut paths: Vec<f64> = Vec::with_capacity(draft.len());
        for node in draft.nodes() {
            paths.push(node.parent.map_or(1.0, |parent| paths[parent]) * self.of(own, node.class));
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(tokens: &[u32], class: Class) -> Draft {
        let mut draft = Draft::default();
        tokens.iter().fold(None, |parent, &token| Some(draft.add(parent, token, class)));
        draft
    }

    #[test]
    fn every_class_has_its_own_number_and_a_probability() {
        let mut numbers = std::collections::BTreeSet::new();
        for is_second in [false, true] {
            numbers.extend(LENGTHS.map(|(length, _)| Class::of_match(length, is_second).0));
            for is_greedy in [false, true] {
                numbers.extend(PROBABILITIES.map(|(p, _)| Class::of_probability(p, is_second, is_greedy).0));
            }
        }
        assert_eq!(numbers, (0..CLASSES).collect());
        let chances = Chances::default();
        assert!((0..CLASSES).all(|class| (0.0..1.0).contains(&chances.of(&chances, Class(class)))));
        assert_eq!(Class::of_match(7, false), Class::of_match(6, false));
        assert_eq!(Class::of_probability(f64::NAN, false, false), Class::of_probability(0.1, false, false));
    }

    #[test]
    fn what_follows_a_wrong_token_was_not_tried() {
        let class = Class::of_match(5, false);
        let mut chances = Chances::default();
        for _ in 0..200 {
            chances.observe(&chain(&[1, 2, 3, 4], class), &[1, 9, 3, 4]);
        }
        let found = chances.of(&Chances::default(), class);
        assert!((found - 0.5).abs() < 0.02, "{found}");
    }

    #[test]
    fn an_answer_can_differ_from_the_others() {
        let class = Class::of_probability(0.9, false, true);
        let (mut all, mut own) = (Chances::default(), Chances::default());
        (0..100).for_each(|_| all.observe(&chain(&[1], class), &[1]));
        (0..40).for_each(|_| own.observe(&chain(&[1], class), &[2]));
        assert!(all.of(&Chances::default(), class) > 0.9 && all.of(&own, class) < 0.25);
        assert!(all.of_model(&Chances::default()) > 0.9 && all.of_model(&own) < 0.25);
    }

    #[test]
    fn the_path_of_a_node_is_less_likely_than_that_of_its_parent() {
        let mut all = Chances::default();
        let draft = chain(&[1, 2, 3], Class::of_match(30, false));
        (0..1000).for_each(|_| all.observe(&draft, &[1, 2, 3]));
        let paths = all.paths(&all, &draft);
        assert!(paths[0] > paths[1] && paths[1] > paths[2] && paths[2] > 0.9, "{paths:?}");
    }
}
