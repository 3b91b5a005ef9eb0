//! Sequences whose cells are saved and restored.

use super::pool::DROPPED;
use super::{Sequence, Sequences, first_seen};
use crate::{BackendError, CacheSpec, SequenceId, Step, StepGroup};

/// The shape of a saved sequence: which positions it has cells for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSequence {
    /// The number of tokens.
    pub len: usize,
    /// The number of pages at the start of each group that a window has dropped. // `[groups]`
    pub dropped: Vec<usize>,
}

impl SavedSequence {
    /// Returns the bytes of its cells in one layer, in the form of [`crate::Backend::export_cells`]; `None` if the layer does
    /// not exist or the numbers contradict each other.
    #[must_use]
    pub fn layer_bytes(&self, spec: &CacheSpec, layer: usize) -> Option<usize> {
        let shape = spec.layers.get(layer)?;
        let dropped = self.dropped.get(shape.group)?.checked_mul(spec.page_len)?;
        self.len.checked_sub(dropped)?.checked_mul(2 * shape.plane_bytes(spec.element))
    }

    /// Returns the bytes of its pages; `None` if the numbers contradict each other.
    #[must_use]
    pub fn page_bytes(&self, spec: &CacheSpec) -> Option<usize> {
        let pages = self.len.div_ceil(spec.page_len);
        let of_group = |group: usize| pages.checked_sub(*self.dropped.get(group)?)?.checked_mul(spec.page_bytes(group));
        (0..spec.groups.len()).try_fold(0usize, |sum, group| sum.checked_add(of_group(group)?))
    }
}

impl Sequences {
    /// Returns the shape of a sequence. Pending drafts are not part of it.
    ///
    /// # Errors
    /// [`BackendError::UnknownSequence`].
    pub fn saved(&self, id: SequenceId) -> Result<SavedSequence, BackendError> {
        let sequence = self.sequence(id)?;
        let pages = sequence.len.div_ceil(self.page_len);
        let dropped = |table: &Vec<u32>| table[..pages].iter().take_while(|&&page| page == DROPPED).count();
        Ok(SavedSequence { len: sequence.len, dropped: sequence.tables.iter().map(dropped).collect() })
    }

    /// Returns the pages of a sequence in a group, without those that a window has dropped.
    ///
    /// # Errors
    /// [`BackendError::UnknownSequence`].
    pub fn pages(&self, id: SequenceId, group: usize) -> Result<&[u32], BackendError> {
        let sequence = self.sequence(id)?;
        let pages = &sequence.tables[group][..sequence.len.div_ceil(self.page_len)];
        let dropped = pages.iter().take_while(|&&page| page == DROPPED).count();
        Ok(&pages[dropped..])
    }

    /// Opens a sequence of this shape and passes a step without rows to `run`, which declares its pages. The cells of the
    /// pages are unspecified. On an error of either, nothing has changed.
    ///
    /// # Errors
    /// [`BackendError::InvalidSaved`] for a shape that no sequence here can have, [`BackendError::CacheFull`].
    pub fn open_saved<E: From<BackendError>>(
        &mut self,
        saved: &SavedSequence,
        run: impl FnOnce(Step) -> Result<(), E>,
    ) -> Result<SequenceId, E> {
        let pages = self.check_saved(saved)?;
        self.or_unchanged(|sequences| {
            let tables = sequences.groups.iter_mut().zip(&saved.dropped).map(|(group, &dropped)| {
                let own = (dropped..pages).map(|_| group.pool.take());
                std::iter::repeat_n(DROPPED, dropped).chain(own).collect()
            });
            let tables = tables.collect();
            let id = sequences.insert(Sequence { len: saved.len, drafts: Vec::new(), tables });
            run(sequences.empty_step())?;
            Ok(id)
        })
    }

    /// Passes a step without rows to `run`, which makes the pending changes of cells. On an error, nothing has changed.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn settle<T, E>(&mut self, run: impl FnOnce(Step) -> Result<T, E>) -> Result<T, E> {
        self.or_unchanged(|sequences| run(sequences.empty_step()))
    }

    fn empty_step(&mut self) -> Step {
        let groups =
            self.groups.iter().map(|group| StepGroup { page_count: group.pool.count(), ..StepGroup::default() });
        Step { groups: groups.collect(), edits: std::mem::take(&mut self.edits), ..Step::default() }
    }

    /// Checks a shape, and returns its number of pages including dropped ones.
    fn check_saved(&self, saved: &SavedSequence) -> Result<usize, BackendError> {
        let invalid = |problem: String| Err(BackendError::InvalidSaved { problem });
        if saved.len == 0 || saved.len > self.context {
            return invalid(format!("found {} tokens, expected 1 to {}", saved.len, self.context));
        }
        if saved.dropped.len() != self.groups.len() {
            return invalid(format!("found {} groups of layers, expected {}", saved.dropped.len(), self.groups.len()));
        }
        let pages = saved.len.div_ceil(self.page_len);
        let mut wanted = self.bytes_held();
        for (group, &dropped) in self.groups.iter().zip(&saved.dropped) {
            let most = first_seen(group.kind, saved.len) / self.page_len;
            if dropped > most {
                return invalid(format!("found {dropped} dropped pages, expected {most} at most"));
            }
            wanted = wanted.saturating_add((pages - dropped) * group.page_bytes);
        }
        match self.limit {
            Some(limit) if wanted > limit => Err(BackendError::CacheFull { wanted, limit }),
            _ => Ok(pages),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;
    use crate::{Batch, CacheKind, Want};

    const PAGE: usize = 4;

    fn extended(sequences: &mut Sequences, id: SequenceId, tokens: usize) -> Result<Step, BackendError> {
        let mut batch = Batch::default();
        batch.extend(id, &vec![1; tokens], Want::NOTHING);
        sequences.step(&batch)
    }

    fn open(sequences: &mut Sequences, saved: &SavedSequence) -> Result<SequenceId, BackendError> {
        sequences.open_saved(saved, |_| Ok(()))
    }

    #[test]
    fn a_step_beyond_the_limit_is_refused_and_changes_nothing() {
        let mut sequences = Sequences::new(&[CacheKind::Full], PAGE, 100, 0);
        sequences.set_limit(&[10], Some(30));
        let id = sequences.open();
        extended(&mut sequences, id, 10).unwrap();
        let fork = sequences.fork(id).unwrap();
        assert_eq!((sequences.bytes_held(), sequences.open_count()), (30, 2));
        // The last page is shared, so the fork would need its own.
        let error = extended(&mut sequences, fork, 1).unwrap_err();
        assert!(matches!(error, BackendError::CacheFull { wanted: 40, limit: 30 }), "{error}");
        assert_eq!((sequences.bytes_held(), sequences.len(fork).unwrap()), (30, 10));
        sequences.close(id).unwrap();
        extended(&mut sequences, fork, 2).unwrap();
        assert_eq!(extended(&mut sequences, fork, 1).unwrap_err().code(), "cache-full");
        let saved = SavedSequence { len: 1, dropped: vec![0] };
        assert_eq!(open(&mut sequences, &saved).unwrap_err().code(), "cache-full");
        sequences.set_limit(&[10], None);
        extended(&mut sequences, fork, 50).unwrap();
        sequences.close(fork).unwrap();
        assert_eq!((sequences.bytes_held(), sequences.open_count()), (0, 0));
    }

    #[test]
    fn a_saved_shape_opens_again_and_impossible_ones_do_not() {
        let mut sequences = Sequences::new(&[CacheKind::Full, CacheKind::Window(5)], PAGE, 100, 0);
        let id = sequences.open();
        extended(&mut sequences, id, 22).unwrap();
        let saved = sequences.saved(id).unwrap();
        // Position 22 sees 18 and later, so pages 0 to 3 of the window are dropped.
        assert_eq!(saved, SavedSequence { len: 22, dropped: vec![0, 4] });
        let again = open(&mut sequences, &saved).unwrap();
        assert_eq!(sequences.saved(again).unwrap(), saved);
        assert_eq!((sequences.pages(again, 0).unwrap().len(), sequences.pages(again, 1).unwrap().len()), (6, 2));
        let step = extended(&mut sequences, again, 1).unwrap();
        assert_eq!((step.positions[0], step.cells[0]), (22, 22));
        for (len, dropped) in [
            (0, vec![0, 0]),
            (101, vec![0, 0]),
            (22, vec![0]),
            (22, vec![1, 4]),
            (22, vec![0, 5]),
            (22, vec![0, usize::MAX]),
        ] {
            let error = open(&mut sequences, &SavedSequence { len, dropped }).unwrap_err();
            assert_eq!(error.code(), "invalid-saved-sequence", "{error}");
        }
        assert_eq!(sequences.open_count(), 2);
    }
}
