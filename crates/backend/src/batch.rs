use crate::{Sampling, Ticket};

/// Names a sequence of one [`crate::Sequences`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u32);

/// An input token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// A known token id.
    Id(u32),
    /// The token that row `row` of the step behind `ticket` sampled, perhaps still on the device.
    Sampled(Ticket, u32),
}

/// What a row follows in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The row of the same sequence before it in this batch; for the first one, the end of the sequence
    /// (its last draft cell where drafts are pending). A batch of these alone, without pending drafts, is final at once.
    Previous,
    /// The last accepted token: the row starts a branch of a draft tree.
    Accepted,
    /// Row `i` of this batch, an earlier one of the same sequence.
    Row(u32),
    /// The `i`-th pending draft cell of the sequence, counted from the last accepted token.
    Draft(u32),
}

/// What is needed of a row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Want {
    /// Its logits. // `[V]`
    pub logits: bool,
    /// Its final hidden state, after the last norm. // `[D]`
    pub hidden: bool,
    /// A token sampled from its logits on the device.
    pub sample: Option<Sampling>,
}

impl Want {
    /// Nothing but its key and value.
    pub const NOTHING: Self = Self { logits: false, hidden: false, sample: None };
    /// The logits.
    pub const LOGITS: Self = Self { logits: true, hidden: false, sample: None };
    /// The final hidden state.
    pub const HIDDEN: Self = Self { logits: false, hidden: true, sample: None };
}

/// Rows of any number of sequences, to be run together. Rows of one sequence are consecutive.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Input tokens. // `[N]`
    pub tokens: Vec<Token>,
    /// The sequence of each row. // `[N]`
    pub sequence: Vec<SequenceId>,
    /// What each row follows. // `[N]`
    pub parent: Vec<Parent>,
    /// What is needed of each row. // `[N]`
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

    /// Adds `tokens` as a chain at the end of `sequence`; `want` is asked of the last one only.
    pub fn extend(&mut self, sequence: SequenceId, tokens: &[u32], want: Want) {
        for (i, &token) in tokens.iter().enumerate() {
            let want = if i + 1 == tokens.len() { want } else { Want::NOTHING };
            self.push(sequence, Token::Id(token), Parent::Previous, want);
        }
    }

    /// Number of rows (N).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }
}
