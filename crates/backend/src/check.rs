//! Whether a step fits a cache: checked before anything is changed.

use crate::{BackendError, CacheSpec, Edit, Step, StepGroup};

impl Step {
    /// Whether the step fits a cache: for a back end to ask before it changes anything.
    ///
    /// # Errors
    /// [`BackendError::InvalidBatch`] where it would reach outside the cache or contradicts itself.
    pub fn check(&self, spec: &CacheSpec) -> Result<(), BackendError> {
        check(self, spec)
    }
}

fn check(step: &Step, spec: &CacheSpec) -> Result<(), BackendError> {
    let rows = step.rows();
    let refuse = |row: usize, problem: String| Err(BackendError::InvalidBatch { row, problem });
    if step.positions.len() != rows || step.cells.len() != rows {
        let found = (step.positions.len(), step.cells.len());
        return refuse(rows, format!("{} positions and {} cells for {rows} rows", found.0, found.1));
    }
    let mut next = 0;
    for segment in &step.segments {
        if segment.rows.start != next || segment.rows.end < next {
            return refuse(next, format!("rows {:?} of a sequence follow row {next}", segment.rows));
        }
        next = segment.rows.end;
    }
    if next != rows {
        return refuse(next, format!("the sequences cover {next} of {rows} rows"));
    }
    if step.groups.len() != spec.groups.len() && (rows > 0 || !step.groups.is_empty() || !step.edits.is_empty()) {
        return refuse(0, format!("{} cache groups, the cache has {}", step.groups.len(), spec.groups.len()));
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
            return refuse(segment.rows.start, "a page table that lies outside the pages");
        };
        let exists = |cell: usize| pages.get(cell / page_len).is_some_and(|page| *page < group.page_count);
        for row in segment.rows.clone() {
            let seen = &group.seen[row];
            let (first, end) = (seen.first as usize, seen.end as usize);
            let Some(extra) = group.extra.get(seen.extra.start as usize..seen.extra.end as usize) else {
                return refuse(row, "scattered cells that lie outside their list");
            };
            if first > end || (first == end && extra.is_empty()) {
                return refuse(row, "sees no cell");
            }
            let mut firsts = (first / page_len..end.div_ceil(page_len)).map(|page| page * page_len);
            if first < end && !firsts.all(exists) || !extra.iter().all(|cell| exists(*cell as usize)) {
                return refuse(row, "sees a cell without a page");
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
    Err(BackendError::InvalidBatch { row: 0, problem: format!("{edit:?} reaches outside the cache") })
}
