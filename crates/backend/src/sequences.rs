mod draft;
mod plan;
mod pool;
mod saved;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use draft::Draft;
use plan::Rows;
use pool::{DROPPED, Pool};
pub use saved::SavedSequence;

use crate::{BackendError, Batch, CacheKind, Edit, Seen, Segment, SequenceId, Step, StepGroup};

/// The result of a truncation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated {
    /// The number of tokens that are still cached. It is smaller than requested if a window's pages had already been
    /// dropped. The caller prefills again from here.
    pub len: usize,
}

#[derive(Debug, Clone)]
struct Group {
    kind: CacheKind,
    pool: Pool,
    /// The bytes of a page in all layers of the group; 0 if unknown.
    page_bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Sequence {
    /// The number of accepted tokens. Token `i` is in cell `i`.
    len: usize,
    /// The cells after the accepted ones.
    drafts: Vec<Draft>,
    /// The pages of each group, by cell.
    tables: Vec<Vec<u32>>,
}

/// The integer state of all sequences of a model: lengths, drafts, page tables and page pools.
///
/// All changes of cached cells form one log in the order of the calls: the edits at the head of a step, then the
/// writes of its rows. A freed page can therefore be reused at once, because every operation that still reads it
/// comes earlier in the log.
#[derive(Debug, Clone)]
pub struct Sequences {
    groups: Vec<Group>,
    page_len: usize,
    context: usize,
    slack: usize,
    sequences: BTreeMap<u32, Sequence>,
    next: u32,
    /// The edits for the head of the next step.
    edits: Vec<Edit>,
    /// The largest number of bytes of all pages.
    limit: Option<usize>,
}

impl Sequences {
    /// Returns a state without sequences. Each sequence may hold `context` tokens. `slack` is the largest number of
    /// accepted tokens that [`Sequences::truncate`] can always remove without a new prefill. (Any number of pending
    /// drafts can be dropped.)
    ///
    /// # Panics
    /// Panics if `page_len` is 0.
    #[must_use]
    pub fn new(groups: &[CacheKind], page_len: usize, context: usize, slack: usize) -> Self {
        assert!(page_len > 0, "a page needs cells");
        let groups = groups.iter().map(|&kind| Group { kind, pool: Pool::default(), page_bytes: 0 }).collect();
        Self { groups, page_len, context, slack, sequences: BTreeMap::new(), next: 0, edits: Vec::new(), limit: None }
    }

    /// Returns the largest number of tokens that a sequence may hold.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// Returns the number of pages of a group that sequences hold now.
    #[must_use]
    pub fn pages_held(&self, group: usize) -> usize {
        self.groups[group].pool.held()
    }

    /// Limits the bytes of all pages, where a page of group `g` has `page_bytes[g]` bytes. `None` is no limit.
    pub fn set_limit(&mut self, page_bytes: &[usize], limit: Option<usize>) {
        for (group, &bytes) in self.groups.iter_mut().zip(page_bytes) {
            group.page_bytes = bytes;
        }
        self.limit = limit;
    }

    /// Returns the largest number of bytes of all pages, if there is a limit.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// Returns the bytes of the pages that sequences hold now; 0 before [`Sequences::set_limit`].
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.groups.iter().map(|group| group.pool.held() * group.page_bytes).sum()
    }

    /// Returns the number of open sequences.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.sequences.len()
    }

    /// Opens an empty sequence. Its identifier is never used again.
    pub fn open(&mut self) -> SequenceId {
        let tables = vec![Vec::new(); self.groups.len()];
        self.insert(Sequence { tables, ..Sequence::default() })
    }

    /// Closes a sequence and frees its pages.
    pub fn close(&mut self, id: SequenceId) -> Result<(), BackendError> {
        let mut sequence = self.sequences.remove(&id.0).ok_or(BackendError::UnknownSequence(id.0))?;
        for (group, table) in self.groups.iter_mut().zip(&mut sequence.tables) {
            release_from(&mut group.pool, table, 0);
        }
        Ok(())
    }

    /// Returns the number of accepted tokens of a sequence.
    pub fn len(&self, id: SequenceId) -> Result<usize, BackendError> {
        Ok(self.sequence(id)?.len)
    }

    /// Returns the number of cells of a sequence that wait for [`Sequences::accept`].
    pub fn pending(&self, id: SequenceId) -> Result<usize, BackendError> {
        Ok(self.sequence(id)?.drafts.len())
    }

    /// Validates `batch`, allocates its cells and describes it for a back end. On an error, nothing has changed.
    ///
    /// The rows of a sequence become accepted tokens at once if no draft was pending and all of them follow
    /// [`crate::Parent::Previous`]. Otherwise they become pending drafts.
    pub fn step(&mut self, batch: &Batch) -> Result<Step, BackendError> {
        let parts = plan::plan(self, batch)?;
        self.check_limit(&parts)?;
        let mut step = Step {
            tokens: batch.tokens.clone(),
            positions: Vec::with_capacity(batch.rows()),
            cells: Vec::with_capacity(batch.rows()),
            groups: vec![StepGroup::default(); self.groups.len()],
            ..Step::default()
        };
        for part in &parts {
            self.record(part, &mut step);
        }
        for (of_step, group) in step.groups.iter_mut().zip(&self.groups) {
            of_step.page_count = group.pool.count();
        }
        step.edits = std::mem::take(&mut self.edits);
        for part in parts {
            if let Some(sequence) = self.sequences.get_mut(&part.sequence.0) {
                if part.is_final {
                    sequence.len += part.rows.len();
                } else {
                    sequence.drafts = part.drafts;
                }
                drop_outside_windows(&mut self.groups, sequence, self.page_len, self.slack);
            }
        }
        Ok(step)
    }

    /// Passes the step of [`Sequences::step`] to `run`, which begins it on a back end. On an error of either, nothing
    /// has changed.
    pub fn step_with<T, E: From<BackendError>>(
        &mut self,
        batch: &Batch,
        run: impl FnOnce(Step) -> Result<T, E>,
    ) -> Result<T, E> {
        self.or_unchanged(|sequences| sequences.step(batch).map_err(E::from).and_then(run))
    }

    /// Calls `change`. On an error, nothing has changed.
    fn or_unchanged<T, E>(&mut self, change: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let before = self.clone();
        let done = change(self);
        if done.is_err() {
            *self = before;
        }
        done
    }

    /// Keeps the pending draft cells `path` (indices as in [`crate::Parent::Draft`], each the child of the one before)
    /// and drops the others. The cells are compacted at the head of the next step.
    pub fn accept(&mut self, id: SequenceId, path: &[u32]) -> Result<(), BackendError> {
        let sequence = self.sequences.get_mut(&id.0).ok_or(BackendError::UnknownSequence(id.0))?;
        let mut parent = None;
        for (index, &draft) in path.iter().enumerate() {
            let problem = match sequence.drafts.get(draft as usize) {
                None => format!("draft {draft} is not among {} pending ones", sequence.drafts.len()),
                Some(found) if found.parent != parent => {
                    format!("draft {draft} follows {:?}, not {parent:?}", found.parent)
                }
                Some(_) => {
                    parent = Some(draft);
                    continue;
                }
            };
            return Err(BackendError::InvalidPath { sequence: id.0, index, problem });
        }
        // No copy on write is needed: a fork that shares these pages sees none of the cells after `len`.
        let place = |table: &[u32], cell: usize| (table[cell / self.page_len], (cell % self.page_len) as u32);
        for (to, &draft) in (sequence.len..).zip(path) {
            let from = sequence.len + draft as usize;
            if from != to {
                let tables = sequence.tables.iter().enumerate();
                self.edits.extend(tables.map(|(group, table)| Edit::CopyCell {
                    group,
                    from: place(table, from),
                    to: place(table, to),
                }));
            }
        }
        sequence.drafts.clear();
        sequence.len += path.len();
        let pages = sequence.len.div_ceil(self.page_len);
        for (group, table) in self.groups.iter_mut().zip(&mut sequence.tables) {
            release_from(&mut group.pool, table, pages);
        }
        drop_outside_windows(&mut self.groups, sequence, self.page_len, self.slack);
        Ok(())
    }

    /// Drops all tokens from `len` on, and all pending drafts. If pages of a window that the next token would see have
    /// already been dropped, no tokens remain, because every row of a new prefill would need the rows before it. None remain
    /// in a bidirectional group either, because every row has seen the dropped ones.
    pub fn truncate(&mut self, id: SequenceId, len: usize) -> Result<Truncated, BackendError> {
        let sequence = self.sequences.get_mut(&id.0).ok_or(BackendError::UnknownSequence(id.0))?;
        let mut len = len.min(sequence.len);
        for (group, table) in self.groups.iter().zip(&sequence.tables) {
            let dropped = table.iter().take_while(|&&page| page == DROPPED).count();
            let is_lost = dropped > 0 && first_seen(group.kind, len) < dropped * self.page_len;
            if is_lost || (group.kind == CacheKind::Bidirectional && len < sequence.len) {
                len = 0;
            }
        }
        sequence.drafts.clear();
        sequence.len = len;
        for (group, table) in self.groups.iter_mut().zip(&mut sequence.tables) {
            release_from(&mut group.pool, table, len.div_ceil(self.page_len));
        }
        Ok(Truncated { len })
    }

    /// Opens a second sequence with the same accepted tokens. The two share pages until one of them writes.
    pub fn fork(&mut self, id: SequenceId) -> Result<SequenceId, BackendError> {
        let sequence = self.sequence(id)?;
        let pages = sequence.len.div_ceil(self.page_len);
        let tables: Vec<Vec<u32>> = sequence.tables.iter().map(|table| table[..pages].to_vec()).collect();
        let fork = Sequence { len: sequence.len, drafts: Vec::new(), tables };
        for (group, table) in self.groups.iter_mut().zip(&fork.tables) {
            for &page in table {
                group.pool.share(page);
            }
        }
        Ok(self.insert(fork))
    }

    /// Checks that the pages which `parts` need are within the limit.
    fn check_limit(&self, parts: &[Rows]) -> Result<(), BackendError> {
        let Some(limit) = self.limit else { return Ok(()) };
        let mut wanted = self.bytes_held();
        for part in parts {
            let sequence = self.sequence(part.sequence)?;
            let start = sequence.len + sequence.drafts.len();
            let pages = (sequence.len + part.drafts.len()).div_ceil(self.page_len);
            for (group, table) in self.groups.iter().zip(&sequence.tables) {
                // A shared page is copied before it is written.
                let is_copied = table.get(start / self.page_len).is_some_and(|&page| group.pool.is_shared(page));
                let new = pages.saturating_sub(table.len()) + usize::from(is_copied);
                wanted += new * group.page_bytes;
            }
        }
        if wanted > limit { Err(BackendError::CacheFull { wanted, limit }) } else { Ok(()) }
    }

    fn insert(&mut self, sequence: Sequence) -> SequenceId {
        let id = self.next;
        self.next += 1;
        self.sequences.insert(id, sequence);
        SequenceId(id)
    }

    fn sequence(&self, id: SequenceId) -> Result<&Sequence, BackendError> {
        self.sequences.get(&id.0).ok_or(BackendError::UnknownSequence(id.0))
    }

    /// Allocates the cells of one sequence's rows and describes them in the step.
    fn record(&mut self, part: &Rows, step: &mut Step) {
        let Some(sequence) = self.sequences.get_mut(&part.sequence.0) else { return };
        let len = sequence.len;
        let new = sequence.drafts.len()..part.drafts.len();
        let (start, end) = (len + new.start, len + new.end);
        step.segments.push(Segment { rows: part.rows.clone(), sequence: part.sequence });
        step.cells.extend((start..end).map(|cell| cell as u32));
        step.positions.extend(part.drafts[new.clone()].iter().map(|d| len as u32 + d.depth - 1));
        for (g, group) in self.groups.iter_mut().enumerate() {
            let table = &mut sequence.tables[g];
            let first = start / self.page_len;
            if let Some(page) = table.get_mut(first) {
                group.pool.own(g, page, start - first * self.page_len, &mut self.edits);
            }
            while table.len() < end.div_ceil(self.page_len) {
                table.push(group.pool.take());
            }
            let of_step = &mut step.groups[g];
            let begin = of_step.pages.len();
            of_step.pages.extend_from_slice(table);
            of_step.tables.push(begin..of_step.pages.len());
            let window = match group.kind {
                CacheKind::Full => None,
                CacheKind::Window(n) => Some(n),
                CacheKind::Bidirectional => {
                    let none = of_step.extra.len() as u32;
                    let all = Seen { first: 0, end: end as u32, extra: none..none };
                    of_step.seen.extend(new.clone().map(|_| all.clone()));
                    continue;
                }
            };
            for index in new.clone() {
                let seen = draft::seen(len, &part.drafts, index, window, &mut of_step.extra);
                of_step.seen.push(seen);
            }
        }
    }
}

/// Returns the first position that a token at `position` sees.
fn first_seen(kind: CacheKind, position: usize) -> usize {
    match kind {
        CacheKind::Full | CacheKind::Bidirectional => 0,
        CacheKind::Window(n) => (position + 1).saturating_sub(n.max(1)),
    }
}

/// Releases the pages of a table from `pages` on.
fn release_from(pool: &mut Pool, table: &mut Vec<u32>, pages: usize) {
    for page in table.drain(pages.min(table.len())..) {
        pool.release(page);
    }
}

/// Drops the pages that no later token can see, even if `slack` tokens are removed.
fn drop_outside_windows(groups: &mut [Group], sequence: &mut Sequence, page_len: usize, slack: usize) {
    for (group, table) in groups.iter_mut().zip(&mut sequence.tables) {
        let keep = first_seen(group.kind, sequence.len).saturating_sub(slack) / page_len;
        for page in table.iter_mut().take(keep) {
            group.pool.release(*page);
            *page = DROPPED;
        }
    }
}
