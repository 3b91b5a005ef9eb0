use std::collections::BTreeMap;

use super::tree::Draft;

/// The acceptance of draft tokens at one depth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// The number of times that a draft had a token at this depth and all before it were accepted.
    pub tried: u64,
    /// The number of times that such a token was accepted.
    pub accepted: u64,
}

/// The verified drafts since a driver was created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpeculationCounts {
    /// The drafts. Each belongs to one answer in one step.
    pub drafts: u64,
    /// The tokens of all drafts.
    pub drafted: u64,
    /// The tokens that were accepted.
    pub accepted: u64,
    /// The acceptance at each depth, from the first token on.
    pub depths: Vec<Acceptance>,
    /// The steps in which all answers were being written, by their number of rows.
    pub steps: BTreeMap<usize, u64>,
    /// The steps of the draft model, by their number of rows.
    pub draft_steps: BTreeMap<usize, u64>,
}

impl SpeculationCounts {
    /// Adds a verified draft and the tokens that were drawn.
    pub(super) fn add(&mut self, draft: &Draft, drawn: &[u32]) {
        if draft.is_empty() {
            return;
        }
        self.drafts += 1;
        self.drafted += draft.len() as u64;
        let mut parent = None;
        for (depth, &token) in drawn.iter().enumerate() {
            if draft.children(parent).next().is_none() {
                return;
            }
            if self.depths.len() <= depth {
                self.depths.push(Acceptance::default());
            }
            self.depths[depth].tried += 1;
            parent = draft.child(parent, token);
            if parent.is_none() {
                return;
            }
            self.depths[depth].accepted += 1;
            self.accepted += 1;
        }
    }

    /// Returns the counts since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let depths = self.depths.iter().enumerate().map(|(depth, now)| {
            let before = earlier.depths.get(depth).copied().unwrap_or_default();
            Acceptance { tried: now.tried - before.tried, accepted: now.accepted - before.accepted }
        });
        let steps = |now: &BTreeMap<usize, u64>, before: &BTreeMap<usize, u64>| {
            let new = now.iter().map(|(rows, count)| (*rows, count - before.get(rows).copied().unwrap_or(0)));
            new.filter(|(_, count)| *count > 0).collect()
        };
        Self {
            drafts: self.drafts - earlier.drafts,
            drafted: self.drafted - earlier.drafted,
            accepted: self.accepted - earlier.accepted,
            depths: depths.collect(),
            steps: steps(&self.steps, &earlier.steps),
            draft_steps: steps(&self.draft_steps, &earlier.draft_steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speculative::tree::Class;

    #[test]
    fn depths_are_tried_as_far_as_the_draft_was_right() {
        let mut draft = Draft::default();
        let one = draft.add(None, 1, Class(0));
        let two = draft.add(Some(one), 2, Class(0));
        draft.add(Some(two), 3, Class(0));
        draft.add(None, 7, Class(0));
        let mut counts = SpeculationCounts::default();
        for drawn in [&[1, 2, 9][..], &[8], &[7, 1], &[1, 2, 3, 4]] {
            counts.add(&draft, drawn);
        }
        counts.add(&Draft::default(), &[1]);
        let depths: Vec<(u64, u64)> = counts.depths.iter().map(|depth| (depth.tried, depth.accepted)).collect();
        assert_eq!(depths, [(4, 3), (2, 2), (2, 1)]);
        assert_eq!((counts.drafts, counts.drafted, counts.accepted), (4, 16, 6));
        let later = counts.clone();
        assert_eq!(later.since(&counts).depths, [Acceptance::default(); 3]);
    }
}
