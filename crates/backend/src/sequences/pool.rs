use crate::Edit;

/// A page that a window group no longer holds.
pub(super) const DROPPED: u32 = u32::MAX;

/// The pages of one cache group: who holds how many, and which are free.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    /// Holders of each page. // `[pages]`
    holders: Vec<u32>,
    free: Vec<u32>,
}

impl Pool {
    /// Pages ever made: every page number is below.
    pub fn count(&self) -> u32 {
        self.holders.len() as u32
    }

    /// Pages that some sequence holds.
    pub fn held(&self) -> usize {
        self.holders.len() - self.free.len()
    }

    /// A page with one holder; its content is whatever was left there.
    pub fn take(&mut self) -> u32 {
        if let Some(page) = self.free.pop() {
            self.holders[page as usize] = 1;
            return page;
        }
        self.holders.push(1);
        self.count() - 1
    }

    /// One holder more.
    pub fn share(&mut self, page: u32) {
        if page != DROPPED {
            self.holders[page as usize] += 1;
        }
    }

    /// One holder less.
    pub fn release(&mut self, page: u32) {
        if page == DROPPED {
            return;
        }
        let holders = &mut self.holders[page as usize];
        *holders -= 1;
        if *holders == 0 {
            self.free.push(page);
        }
    }

    /// Makes `page` the holder's own before it writes: copies its first `cells` cells when it is shared.
    pub fn own(&mut self, group: usize, page: &mut u32, cells: usize, edits: &mut Vec<Edit>) {
        if self.holders[*page as usize] == 1 {
            return;
        }
        let to = self.take();
        if cells > 0 {
            edits.push(Edit::CopyPage { group, from: *page, to, cells: cells as u32 });
        }
        self.release(*page);
        *page = to;
    }
}
