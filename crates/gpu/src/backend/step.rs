//! The begin of a step: the host's description of it becomes numbers for the kernels.

use honelm_backend::{BackendError, Cache, Step, StepGroup, Token};

use super::{GpuBackend, variant};
use crate::cache::cell_words;
use crate::recording::{Bound, Frame, Group};

/// The bit that marks a slot of the ring of sampled tokens among token ids.
const SAMPLED: u32 = 1 << 31;

impl GpuBackend {
    pub(super) fn begin_step(&mut self, step: &Step, cache: &Cache) -> Result<(), BackendError> {
        step.check(cache.spec())?;
        let tokens = step.tokens.iter().map(|token| self.resolve(*token)).collect::<Result<Vec<u32>, _>>()?;
        self.collect();
        if !self.only_requests {
            let gpu = self.gpu.clone();
            let moved = self.caches.get_mut(cache.guard()).reserve(&gpu, step, &mut self.checks)?;
            self.recording.moved.extend(moved);
        }
        let page_len = cache.spec().page_len;
        let mut frame = Frame {
            rows: step.rows(),
            known: tokens.iter().copied().filter(|token| *token < SAMPLED).collect(),
            tokens: self.recording.append(tokens),
            positions: step.positions.clone(),
            ..Frame::default()
        };
        frame.groups = step.groups.iter().map(|group| self.group(step, group, page_len)).collect();
        self.recording.frame = frame;
        self.edit(step, cache);
        Ok(())
    }

    /// Returns a token id, or the slot of the ring that will hold it.
    fn resolve(&self, token: Token) -> Result<u32, BackendError> {
        match token {
            Token::Sampled(ticket, row) => {
                let slot = self.tokens.find(ticket, row).ok_or(BackendError::UnknownTicket(ticket.0))?;
                Ok(SAMPLED | slot)
            }
            Token::Id(id) => {
                // No table has this many rows, and the bit of the mark must be free.
                let vocabulary = self.vocabulary.unwrap_or(SAMPLED as usize);
                let is_known = (id as usize) < vocabulary && id < SAMPLED;
                if is_known { Ok(id) } else { Err(BackendError::UnknownToken { token: id, vocabulary }) }
            }
        }
    }

    fn group(&mut self, step: &Step, group: &StepGroup, page_len: usize) -> Group {
        let mut cells = Vec::with_capacity(step.rows());
        let mut seen = Vec::with_capacity(step.rows() * 5);
        let mut most = 0;
        for (segment, table) in step.segments.iter().zip(&group.tables) {
            for row in segment.rows.clone() {
                let cell = step.cells[row] as usize;
                let page = group.pages[table.start + cell / page_len] as usize;
                cells.push((page * page_len + cell % page_len) as u32);
                let s = &group.seen[row];
                seen.extend([s.first, s.end, s.extra.start, s.extra.end, table.start as u32]);
                most = most.max((s.end - s.first + s.extra.end - s.extra.start) as usize);
            }
        }
        Group {
            cells: self.recording.append(cells),
            seen: self.recording.append(seen),
            pages: self.recording.append(group.pages.iter().copied()),
            extra: self.recording.append(group.extra.iter().copied()),
            most,
        }
    }

    /// Copies cells in every layer of their groups.
    fn edit(&mut self, step: &Step, cache: &Cache) {
        let spec = cache.spec();
        for group in 0..spec.groups.len() {
            let pairs = self.caches.get(cache.guard()).pairs(&step.edits, group);
            if pairs.is_empty() {
                continue;
            }
            let count = pairs.len() as u32 / 2;
            let list = self.recording.append(pairs);
            for (i, layer) in spec.layers.iter().enumerate().filter(|(_, layer)| layer.group == group) {
                let words = cell_words(layer, spec.element);
                let params = [count, list, words as u32];
                self.dispatch(variant("edit", []), Bound::Cache(cache.clone(), i), &params, words.div_ceil(64));
            }
        }
    }
}
