use crate::{Sampling, Ticket};

/// The identifier of a sequence within its [`crate::Sequences`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u32);

/// An input token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// A known token id.
    Id(u32),
    /// The token that row `row` of the step `ticket` sampled. It may still be on the device.
    Sampled(Ticket, u32),
}

/// The row or cell that a row follows in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The row before it of the same sequence in this batch. For the first such row, the end of the sequence, which is
    /// its last draft cell if drafts are pending. Rows that are all of this kind become final at once if no draft is
    /// pending.
    Previous,
    /// The last accepted token. The row starts a branch of a draft tree.
    Accepted,
    /// Row `i` of this batch, an earlier row of the same sequence.
    Row(u32),
    /// The `i`-th pending draft cell of the sequence, counted from the last accepted token.
    Draft(u32),
}

/// The outputs that a row needs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Want {
    /// `true` for its logits. // `[V]`
    pub logits: bool,
    /// `true` for its final hidden state, after the last norm. // `[D]`
    pub hidden: bool,
    /// The settings for a token sampled from its logits on the device.
    pub sample: Option<Sampling>,
}

impl Want {
    /// Only its key and value.
    pub const NOTHING: Self = Self { logits: false, hidden: false, sample: None };
    /// Its logits.
    pub const LOGITS: Self = Self { logits: true, hidden: false, sample: None };
    /// Its final hidden state.
    pub const HIDDEN: Self = Self { logits: false, hidden: true, sample: None };
}

/// Rows of any number of sequences that run together. The rows of a sequence are consecutive.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// The input tokens. // `[N]`
    pub tokens: Vec<Token>,
    /// The sequence of each row. // `[N]`
    pub sequence: Vec<SequenceId>,
    /// The parent of each row. // `[N]`
    pub parent: Vec<Parent>,
    /// The outputs that each row needs. // `[N]`
    pub want: Vec<Want>,
}

impl Batch {
    /// Adds a row.
    pub fn push(&mut self, sequence: SequenceId, token: Token, parent: Parent, want: Want) {
        self.tokens.push(token);
        self.sequence.push(sequence);
        self.parent.push(parent);
        self.want.push(want);
    }

    /// Adds `tokens` as a chain at the end of `sequence`. `want` applies to the last one only.
    pub fn extend(&mut self, sequence: SequenceId, tokens: &[u32], want: Want) {
        for (i, &token) in tokens.iter().enumerate() {
            let want = if i + 1 == tokens.len() { want } else { Want::NOTHING };
            self.push(sequence, Token::Id(token), Parent::Previous, want);
        }
    }

    /// Returns the number of rows (N).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }
}
