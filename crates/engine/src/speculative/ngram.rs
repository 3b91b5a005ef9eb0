//! Proposals from the text itself: what followed the last tokens where they occurred before (prompt lookup decoding, Saxena
//! 2023).

use std::collections::{BTreeMap, HashMap};
use std::future::ready;

use super::Ask;
use super::proposer::{Judge, Proposals, Proposer};
use super::tree::{Class, Draft};
use crate::AnswerId;

/// The number of earlier occurrences that are compared, the latest first.
const OCCURRENCES: usize = 48;
/// The length up to which matches are compared.
const LONGEST: usize = 32;
/// The number of different continuations.
const CONTINUATIONS: usize = 3;
/// The number of tokens of continuations other than that of the longest match.
const SHORT: usize = 4;
/// The largest number of proposed tokens on a path.
pub(crate) const DEEPEST: usize = 24;
const NONE: u32 = u32::MAX;

/// The occurrences of each pair of neighbouring tokens in a growing text, as chains from the latest one back.
#[derive(Debug, Default)]
struct Index {
    /// The position of the second token of the latest occurrence.
    latest: HashMap<(u32, u32), u32>,
    /// For each position, that of the occurrence before it of the pair that ends there. // `[tokens]`
    before: Vec<u32>,
}

impl Index {
    /// Adds the tokens of `text` that are new.
    fn extend(&mut self, text: &[u32]) {
        for end in self.before.len()..text.len() {
            let before = match end.checked_sub(1) {
                Some(first) => self.latest.insert((text[first], text[end]), end as u32),
                None => None,
            };
            self.before.push(before.unwrap_or(NONE));
        }
    }

    /// Returns the ends of earlier occurrences of the longest suffixes of `text`, with their lengths: the longest first, of
    /// equals the latest.
    fn matches(&self, text: &[u32]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let Some(last) = text.len().checked_sub(1) else { return found };
        let mut at = self.before[last];
        while at != NONE && found.len() < OCCURRENCES {
            let end = at as usize;
            let pairs = text[..=end].iter().rev().zip(text.iter().rev());
            let length = pairs.take(LONGEST).take_while(|(a, b)| a == b).count();
            found.push((length, end));
            at = self.before[end];
        }
        // A stable sort keeps the latest first.
        found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        found
    }

    /// Returns what may follow `text`, `most` tokens deep.
    fn draft(&self, text: &[u32], most: usize) -> Draft {
        let mut draft = Draft::default();
        let mut firsts: Vec<u32> = Vec::new();
        for (length, end) in self.matches(text) {
            let first = text[end + 1];
            if firsts.contains(&first) {
                continue;
            }
            let is_second = !firsts.is_empty();
            firsts.push(first);
            let tokens = if is_second { most.min(SHORT) } else { most };
            let period = text.len() - 1 - end;
            let mut parent = None;
            for i in 0..tokens {
                // A match that overlaps the end of the text goes on as a period.
                let token = text[end + 1 + i % period];
                parent = Some(draft.add(parent, token, Class::of_match(length + i, is_second && i == 0)));
            }
            if firsts.len() == CONTINUATIONS {
                break;
            }
        }
        draft
    }
}

/// The indices of all answers.
#[derive(Debug, Default)]
pub(crate) struct Ngrams {
    answers: BTreeMap<AnswerId, Index>,
}

impl Proposer for Ngrams {
    fn propose<'p>(&'p mut self, asks: &'p [Ask<'p>], _: &'p Judge<'p>) -> Proposals<'p> {
        let propose = |ask: &Ask<'_>| {
            let index = self.answers.entry(ask.id).or_default();
            index.extend(ask.history);
            index.draft(ask.history, ask.most.min(DEEPEST))
        };
        Box::pin(ready(Ok(asks.iter().map(propose).collect())))
    }

    fn forget(&mut self, id: AnswerId) {
        self.answers.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &[u32], most: usize) -> Draft {
        let mut index = Index::default();
        // Token by token, as an answer grows.
        (0..=text.len()).for_each(|len| index.extend(&text[..len]));
        index.draft(text, most)
    }

    /// Returns the tokens on the path of first children.
    fn main_path(draft: &Draft) -> Vec<u32> {
        let mut path = Vec::new();
        let mut parent = None;
        while let Some(node) = draft.children(parent).next() {
            path.push(node.token);
            parent = draft.child(parent, node.token);
        }
        path
    }

    #[test]
    fn the_longest_match_comes_first() {
        // `1 2 3` was followed by 4, the later `2 3` by 9.
        let found = draft(&[0, 1, 2, 3, 4, 5, 2, 3, 9, 8, 7, 1, 2, 3], 4);
        assert_eq!(main_path(&found), [4, 5, 2, 3]);
        assert_eq!(found.children(None).map(|node| node.token).collect::<Vec<_>>(), [4, 9]);
        assert_eq!(found.nodes()[0].class, Class::of_match(3, false));
        assert_eq!(found.nodes()[1].class, Class::of_match(4, false));
        assert!(found.children(None).any(|node| node.class == Class::of_match(2, true)));
    }

    #[test]
    fn of_equal_matches_the_latest_comes_first() {
        assert_eq!(main_path(&draft(&[1, 2, 7, 1, 2, 8, 1, 2], 1)), [8]);
    }

    #[test]
    fn repetitions_go_on() {
        assert_eq!(main_path(&draft(&[1, 2, 3, 1, 2, 3, 1, 2], 7)), [3, 1, 2, 3, 1, 2, 3]);
        assert_eq!(main_path(&draft(&[5, 5, 5], 4)), [5, 5, 5, 5]);
    }

    #[test]
    fn a_text_without_repetitions_has_no_draft() {
        for text in [&[][..], &[1], &[1, 2], &[1, 2, 3, 2], &[1, 2, 3, 4, 5]] {
            assert!(draft(text, 4).is_empty(), "{text:?}");
        }
        assert!(draft(&[1, 2, 1, 2], 0).is_empty());
    }

    #[test]
    fn proposals_are_continuations_of_earlier_occurrences() {
        let text: Vec<u32> = (0..600u64).map(|i| (honelm_backend::uniform(1, 2, i, 0) * 5.0) as u32).collect();
        for len in 2..text.len() {
            let text = &text[..len];
            let mut index = Index::default();
            index.extend(text);
            let longest = (1..len)
                .map(|end| text[..end].iter().rev().zip(text.iter().rev()).take_while(|(a, b)| a == b).count())
                .max()
                .unwrap_or(0)
                .min(LONGEST);
            let found = index.matches(text);
            if longest >= 2 && found.len() < OCCURRENCES {
                assert_eq!(found[0].0, longest, "{text:?}");
            }
            for node in index.draft(text, 1).children(None) {
                let last = text[len - 1];
                assert!(text.windows(2).any(|pair| pair == [last, node.token]));
            }
        }
    }
}
