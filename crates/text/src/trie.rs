//! Byte strings by prefix.

use std::ops::Range;

/// The value of a node where no key ends.
const NONE: u32 = u32::MAX;

/// A node.
#[derive(Debug, Clone)]
struct Node {
    byte: u8,
    /// The value of the key that ends here.
    value: u32,
    /// The indices of the child nodes, ordered by byte.
    children: Range<u32>,
}

/// A map from byte strings to numbers. Its memory is proportional to the total length of the strings.
#[derive(Debug, Clone)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
}

impl Trie {
    /// Builds the map. Empty keys are skipped, and the first of equal keys counts.
    pub(crate) fn new<'a>(keys: impl IntoIterator<Item = (&'a [u8], u32)>) -> Self {
        let mut keys: Vec<(&[u8], u32)> = keys.into_iter().filter(|(key, _)| !key.is_empty()).collect();
        keys.sort_by(|a, b| a.0.cmp(b.0));
        keys.dedup_by(|next, first| next.0 == first.0);
        let mut nodes = vec![Node { byte: 0, value: NONE, children: 0..0 }];
        // Nodes whose children are missing: (node, its keys, length of its prefix). They are processed breadth first,
        // so that the children of a node are adjacent.
        let mut open = std::collections::VecDeque::from([(0, 0..keys.len(), 0)]);
        while let Some((node, range, depth)) = open.pop_front() {
            let first_child = nodes.len();
            let mut at = range.start;
            while at < range.end {
                let Some(&byte) = keys[at].0.get(depth) else {
                    at += 1; // the key that ended here
                    continue;
                };
                let same = keys[at..range.end].partition_point(|(key, _)| key.get(depth) == Some(&byte));
                let value = if keys[at].0.len() == depth + 1 { keys[at].1 } else { NONE };
                open.push_back((nodes.len(), at..at + same, depth + 1));
                nodes.push(Node { byte, value, children: 0..0 });
                at += same;
            }
            nodes[node].children = index(first_child)..index(nodes.len());
        }
        Self { nodes }
    }

    /// Returns `true` if there are no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Calls `found` with the length and value of each key that is a prefix of `text`, the shortest first. Returns the
    /// number of bytes that were read.
    pub(crate) fn walk(&self, text: &[u8], mut found: impl FnMut(usize, u32)) -> usize {
        let mut node = 0;
        for (at, byte) in text.iter().enumerate() {
            let Some(next) = self.child(node, *byte) else { return at + 1 };
            node = next;
            if self.nodes[node].value != NONE {
                found(at + 1, self.nodes[node].value);
            }
        }
        text.len()
    }

    fn child(&self, node: usize, byte: u8) -> Option<usize> {
        let children = self.nodes[node].children.clone();
        let (start, end) = (children.start as usize, children.end as usize);
        self.nodes[start..end].binary_search_by_key(&byte, |child| child.byte).ok().map(|at| start + at)
    }
}

/// Converts a node's index. There are fewer nodes than bytes of vocabulary, and files are far below 4 GiB.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_prefixes() {
        let keys: [&[u8]; 6] = [b"b", b"abc", b"a", b"ab", b"abd", b""];
        let trie = Trie::new(keys.into_iter().zip(0..));
        let prefixes = |text: &[u8]| {
            let mut all = Vec::new();
            (trie.walk(text, |length, value| all.push((length, value))), all)
        };
        assert_eq!(prefixes(b"abcd"), (4, vec![(1, 2), (2, 3), (3, 1)]));
        assert_eq!(prefixes(b"b"), (1, vec![(1, 0)]));
        assert_eq!(prefixes(b"abd"), (3, vec![(1, 2), (2, 3), (3, 4)]));
        assert_eq!(prefixes(b"xa"), (1, vec![]));
        assert_eq!(prefixes(b""), (0, vec![]));
    }

    #[test]
    fn of_equal_keys_the_first_counts() {
        let trie = Trie::new([(&b"a"[..], 7), (&b"a"[..], 8)]);
        let mut found = Vec::new();
        trie.walk(b"ab", |length, value| found.push((length, value)));
        assert_eq!(found, [(1, 7)]);
        assert!(Trie::new([]).is_empty());
    }
}
