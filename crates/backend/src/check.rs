//! Checks that a step fits a cache, made before anything changes.

use crate::{BackendError, CacheSpec, Edit, Step, StepGroup};

impl Step {
    /// Checks that the step fits a cache. A back end calls this before it changes anything.
    ///
    /// # Errors
    /// [`BackendError::InvalidBatch`] if the step would access cells outside the cache or contradicts itself.
    pub fn check(&self, spec: &CacheSpec) -> Result<(), BackendError> {
        check(self, spec)
    }
}

fn check(step: &Step, spec: &CacheSpec) -> Result<(), BackendError> {
    let rows = step.rows();
    let refuse = |row: usize, problem: String| Err(BackendError::InvalidBatch { row, problem });
    if step.positions.len() != rows || step.cells.len() != rows {
        let found = (step.positions.len(), step.cells.len());
        return refuse(rows, format!("found {} positions and {} cells, expected {rows} of each", found.0, found.1));
    }
    let mut next = 0;
    for segment in &step.segments {
        if segment.rows.start != next || segment.rows.end < next {
            return refuse(next, format!("found rows {:?} of a sequence, expected rows from {next}", segment.rows));
        }
        next = segment.rows.end;
    }
    if next != rows {
        return refuse(next, format!("the sequences cover {next} of {rows} rows"));
    }
    if step.groups.len() != spec.groups.len() && (rows > 0 || !step.groups.is_empty() || !step.edits.is_empty()) {
        return refuse(0, format!("found {} cache groups, expected {}", step.groups.len(), spec.groups.len()));
    }
    step.groups.iter().try_for_each(|group| check_group(step, group, spec.page_len))?;
    step.edits.iter().try_for_each(|edit| check_edit(step, *edit, spec.page_len))
}

fn check_group(step: &Step, group: &StepGroup, page_len: usize) -> Result<(), BackendError> {
    let refuse = |row: usize, problem: &str| Err(BackendError::InvalidBatch { row, problem: problem.to_owned() });
    if group.tables.len() != step.segments.len() || group.seen.len() != step.rows() {
        return refuse(0, "page tables or visible cells are missing");
    }
    for (segment, table) in step.segments.iter().zip(&group.tables) {
        let Some(pages) = group.pages.get(table.clone()) else {
            return refuse(segment.rows.start, "its page table lies outside the list of pages");
        };
        let exists = |cell: usize| pages.get(cell / page_len).is_some_and(|page| *page < group.page_count);
        for row in segment.rows.clone() {
            let seen = &group.seen[row];
            let (first, end) = (seen.first as usize, seen.end as usize);
            let Some(extra) = group.extra.get(seen.extra.start as usize..seen.extra.end as usize) else {
                return refuse(row, "its extra cells lie outside their list");
            };
            if first > end || (first == end && extra.is_empty()) {
                return refuse(row, "no cell is visible to it");
            }
            let mut firsts = (first / page_len..end.div_ceil(page_len)).map(|page| page * page_len);
            if first < end && !firsts.all(exists) || !extra.iter().all(|cell| exists(*cell as usize)) {
                return refuse(row, "a cell visible to it has no page");
            }
            if !exists(step.cells[row] as usize) {
                return refuse(row, "its own cell has no page");
            }
        }
    }
    Ok(())
}

fn check_edit(step: &Step, edit: Edit, page_len: usize) -> Result<(), BackendError> {
    let (group, from, to, cells) = match edit {
        Edit::CopyPage { group, from, to, cells } => (group, (from, 0), (to, 0), cells),
        Edit::CopyCell { group, from, to } => (group, from, to, 1),
    };
    let pages = step.groups.get(group).map_or(0, |g| g.page_count);
    let fits = |(page, slot): (u32, u32)| page < pages && slot as usize + cells as usize <= page_len;
    if fits(from) && fits(to) {
        return Ok(());
    }
    Err(BackendError::InvalidBatch { row: 0, problem: format!("{edit:?} lies outside the cache") })
}
