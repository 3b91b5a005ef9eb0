//! The prefix cache: sequences by the tokens that they hold.

use std::collections::BTreeMap;
use std::ops::Bound;

use honelm_backend::SequenceId;

struct Entry {
    sequence: SequenceId,
    /// The number of the use; larger ones are later.
    used: u64,
}

/// Sequences that no answer uses, by their tokens.
///
/// The keys of an ordered map that share the longest prefix with a text are its neighbours in the order of the keys, so
/// the map answers what a radix tree would.
#[derive(Default)]
pub(crate) struct Prefixes {
    entries: BTreeMap<Vec<u32>, Entry>,
    uses: u64,
}

/// Returns the number of tokens at the start of both.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Prefixes {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the tokens of all entries, the least recently used first.
    pub fn by_use(&self) -> Vec<Vec<u32>> {
        let mut entries: Vec<_> = self.entries.iter().map(|(tokens, entry)| (entry.used, tokens)).collect();
        entries.sort_unstable_by_key(|(used, _)| *used);
        entries.into_iter().map(|(_, tokens)| tokens.clone()).collect()
    }

    /// Returns the sequence of an entry.
    pub fn get(&self, tokens: &[u32]) -> Option<SequenceId> {
        self.entries.get(tokens).map(|entry| entry.sequence)
    }

    /// Returns the tokens of the entry that shares the longest prefix with `tokens`, and the length of the prefix.
    pub fn longest(&self, tokens: &[u32]) -> Option<(usize, &[u32])> {
        let before = self.entries.range::<[u32], _>((Bound::Unbounded, Bound::Included(tokens))).next_back();
        let after = self.entries.range::<[u32], _>((Bound::Excluded(tokens), Bound::Unbounded)).next();
        let shared = before.into_iter().chain(after).map(|(key, _)| (common(key, tokens), &key[..]));
        let (len, key) = shared.filter(|(len, _)| *len > 0).max_by_key(|(len, _)| *len)?;
        // An entry that is the prefix itself can be used as a whole.
        let whole = self.entries.get_key_value(&tokens[..len]);
        Some((len, whole.map_or(key, |(key, _)| key)))
    }

    /// Returns the sequence of an entry, which is used now.
    pub fn touch(&mut self, tokens: &[u32]) -> Option<SequenceId> {
        self.uses += 1;
        let entry = self.entries.get_mut(tokens)?;
        entry.used = self.uses;
        Some(entry.sequence)
    }

    /// Removes an entry and returns its sequence.
    pub fn take(&mut self, tokens: &[u32]) -> Option<SequenceId> {
        self.entries.remove(tokens).map(|entry| entry.sequence)
    }

    /// Adds an entry. Returns the sequence that it replaces.
    pub fn insert(&mut self, tokens: Vec<u32>, sequence: SequenceId) -> Option<SequenceId> {
        self.uses += 1;
        self.entries.insert(tokens, Entry { sequence, used: self.uses }).map(|old| old.sequence)
    }

    /// Removes the least recently used entry, except the one with the tokens `kept`, and returns its sequence.
    pub fn evict(&mut self, kept: Option<&[u32]>) -> Option<SequenceId> {
        let others = self.entries.iter().filter(|(tokens, _)| Some(&tokens[..]) != kept);
        let oldest = others.min_by_key(|(_, entry)| entry.used)?.0.clone();
        self.take(&oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_neighbours_hold_the_longest_prefix() {
        let texts: [&[u32]; 6] = [&[1, 2, 3], &[1, 2, 4, 9], &[1, 3], &[2], &[5, 5, 5, 5], &[5, 5]];
        let mut prefixes = Prefixes::default();
        for (i, text) in texts.iter().enumerate() {
            assert_eq!(prefixes.insert(text.to_vec(), SequenceId(i as u32)), None);
        }
        for wanted in [&[1, 2, 4][..], &[1, 2, 3], &[1, 2, 3, 4], &[1, 9], &[5, 5, 5, 6], &[0], &[9], &[], &[2, 1]] {
            let expected = texts.iter().map(|text| common(text, wanted)).max().unwrap_or(0);
            assert_eq!(prefixes.longest(wanted).map_or(0, |(len, _)| len), expected, "{wanted:?}");
        }
        assert_eq!(prefixes.longest(&[5, 5, 6]).map(|(_, key)| key.len()), Some(2), "the whole entry");
    }

    #[test]
    fn the_least_recently_used_entry_is_evicted() {
        let mut prefixes = Prefixes::default();
        for i in 0..3 {
            prefixes.insert(vec![i], SequenceId(i));
        }
        assert_eq!(prefixes.touch(&[0]), Some(SequenceId(0)));
        assert_eq!(prefixes.insert(vec![2], SequenceId(7)), Some(SequenceId(2)));
        assert_eq!(prefixes.evict(Some(&[1])), Some(SequenceId(0)));
        assert_eq!(prefixes.evict(None), Some(SequenceId(1)));
        assert_eq!(prefixes.evict(None), Some(SequenceId(7)));
        assert_eq!((prefixes.evict(None), prefixes.len()), (None, 0));
    }
}
