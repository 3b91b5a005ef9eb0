//! A draft: a tree of tokens that may follow an answer.

use honelm_backend::{Batch, Parent, SequenceId, Token, Want};

/// A kind of proposed tokens, whose acceptance is estimated together ([`super::chances`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(pub usize);

/// The kind of tokens whose acceptance nobody estimates.
pub(crate) const ANY: Class = Class(0);

/// A proposed token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub token: u32,
    /// The node that it follows; `None` for the answer's last token.
    pub parent: Option<usize>,
    /// The number of nodes on the path that ends here, including this one.
    pub depth: usize,
    pub class: Class,
}

/// Tokens that may follow an answer's last token. Every node comes after its parent, and siblings have different tokens.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Draft {
    nodes: Vec<Node>,
}

impl Draft {
    /// Creates a draft of tokens one behind the other.
    pub fn chain(tokens: &[u32]) -> Self {
        let mut draft = Self::default();
        tokens.iter().fold(None, |parent, &token| Some(draft.add(parent, token, Class(0))));
        draft
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns the child of a node with this token.
    pub fn child(&self, parent: Option<usize>, token: u32) -> Option<usize> {
        self.nodes.iter().position(|node| node.parent == parent && node.token == token)
    }

    /// Returns the children of a node.
    pub fn children(&self, parent: Option<usize>) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.parent == parent)
    }

    /// Returns the nodes that were drawn.
    pub fn accepted(&self, drawn: &[u32]) -> impl Iterator<Item = &Node> {
        let mut parent = None;
        drawn.iter().map_while(move |&token| {
            parent = self.child(parent, token);
            parent.map(|node| &self.nodes[node])
        })
    }

    /// Adds a token after a node, unless that node already has such a child. Returns the number of the node.
    pub fn add(&mut self, parent: Option<usize>, token: u32, class: Class) -> usize {
        if let Some(found) = self.child(parent, token) {
            return found;
        }
        let depth = parent.map_or(0, |parent| self.nodes[parent].depth) + 1;
        self.nodes.push(Node { token, parent, depth, class });
        self.nodes.len() - 1
    }

    /// Adds tokens that follow each other after the answer's last token.
    pub fn add_path(&mut self, tokens: &[u32], class: Class) {
        tokens.iter().fold(None, |parent, &token| Some(self.add(parent, token, class)));
    }

    /// Removes the nodes for which `keep` is false, and all that follow them.
    pub fn retain(&mut self, mut keep: impl FnMut(usize, &Node) -> bool) {
        let mut places: Vec<Option<usize>> = Vec::with_capacity(self.nodes.len());
        let mut kept: Vec<Node> = Vec::new();
        for (i, node) in self.nodes.iter().enumerate() {
            let parent = node.parent.map(|parent| places[parent]);
            let is_kept = parent != Some(None) && keep(i, node);
            places.push(is_kept.then_some(kept.len()));
            if is_kept {
                kept.push(Node { parent: parent.flatten(), ..*node });
            }
        }
        self.nodes = kept;
    }

    /// Keeps, of each path from the root to a leaf, as many nodes as `accepted` returns for its tokens.
    pub fn cut(&mut self, mut accepted: impl FnMut(&[u32]) -> usize) {
        let mut keeps = vec![false; self.nodes.len()];
        for leaf in (0..self.nodes.len()).filter(|&i| self.children(Some(i)).next().is_none()) {
            let path: Vec<usize> = std::iter::successors(Some(leaf), |&i| self.nodes[i].parent).collect();
            let tokens: Vec<u32> = path.iter().rev().map(|&i| self.nodes[i].token).collect();
            path.iter().rev().take(accepted(&tokens)).for_each(|&i| keeps[i] = true);
        }
        self.retain(|i, _| keeps[i]);
    }

    /// Returns the draft without tokens outside of the vocabulary and nodes deeper than `most`.
    pub fn fit(mut self, vocabulary: usize, most: usize) -> Self {
        self.retain(|_, node| (node.token as usize) < vocabulary && node.depth <= most);
        self
    }

    /// Adds the rows that verify the draft: `token`, the answer's last one, and every node.
    pub fn plan(&self, sequence: SequenceId, token: u32, want: Want, batch: &mut Batch) {
        let first = batch.rows();
        batch.push(sequence, Token::Id(token), Parent::Accepted, want);
        for node in &self.nodes {
            let parent = node.parent.map_or(first, |parent| first + 1 + parent);
            batch.push(sequence, Token::Id(node.token), Parent::Row(parent as u32), want);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_that_begin_alike_share_nodes() {
        let mut draft = Draft::default();
        for chain in [[1, 2, 3], [1, 2, 4], [5, 2, 3]] {
            draft.add_path(&chain, ANY);
        }
        assert_eq!(draft.len(), 7);
        let two = draft.child(draft.child(None, 1), 2);
        assert_eq!(draft.children(two).map(|node| (node.token, node.depth)).collect::<Vec<_>>(), [(3, 3), (4, 3)]);
        assert_eq!(draft.child(two, 5), None);
    }

    #[test]
    fn a_removed_node_takes_its_descendants_along() {
        let mut draft = Draft::default();
        let one = draft.add(None, 1, ANY);
        let two = draft.add(Some(one), 99, ANY);
        draft.add(Some(two), 3, ANY);
        let four = draft.add(None, 4, ANY);
        draft.add(Some(four), 5, ANY);
        let draft = draft.fit(50, 9);
        let left: Vec<(u32, Option<usize>)> = draft.nodes().iter().map(|node| (node.token, node.parent)).collect();
        assert_eq!(left, [(1, None), (4, None), (5, Some(1))]);
        assert_eq!(draft.fit(50, 1).len(), 2);
    }

    #[test]
    fn paths_are_cut_where_their_tokens_are_ruled_out() {
        let mut draft = Draft::default();
        let one = draft.add(None, 1, ANY);
        let two = draft.add(Some(one), 2, ANY);
        draft.add(Some(two), 3, ANY);
        draft.add(Some(one), 4, ANY);
        draft.add(None, 5, ANY);
        draft.cut(|path| path.iter().take_while(|&&token| token != 3 && token != 5).count());
        assert_eq!(draft.nodes().iter().map(|node| node.token).collect::<Vec<_>>(), [1, 2, 4]);
    }

    #[test]
    fn rows_follow_their_parents() {
        let mut draft = Draft::default();
        let one = draft.add(None, 1, ANY);
        draft.add(Some(one), 2, ANY);
        draft.add(None, 3, ANY);
        let mut batch = Batch::default();
        batch.extend(SequenceId(0), &[7, 7], Want::NOTHING);
        draft.plan(SequenceId(1), 9, Want::LOGITS, &mut batch);
        assert_eq!(batch.parent[2..], [Parent::Accepted, Parent::Row(2), Parent::Row(3), Parent::Row(2)]);
        let tokens = [9, 1, 2, 3].map(Token::Id);
        assert_eq!(batch.tokens[2..], tokens);
    }
}
