use crate::Edit;

/// The number of a page that a window group has dropped.
pub(super) const DROPPED: u32 = u32::MAX;

/// The pages of one cache group, with the number of holders of each, and the free pages.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    /// The number of holders of each page. // `[pages]`
    holders: Vec<u32>,
    free: Vec<u32>,
}

impl Pool {
    /// Returns the number of pages ever created, which exceeds every page number.
    pub fn count(&self) -> u32 {
        self.holders.len() as u32
    }

    /// Returns the number of pages that some sequence holds.
    pub fn held(&self) -> usize {
        self.holders.len() - self.free.len()
    }

    /// Returns `true` if a page has several holders.
    pub fn is_shared(&self, page: u32) -> bool {
        self.holders.get(page as usize).is_some_and(|&holders| holders > 1)
    }

    /// Returns a page with one holder and unspecified contents.
    pub fn take(&mut self) -> u32 {
        if let Some(page) = self.free.pop() {
            self.holders[page as usize] = 1;
            return page;
        }
        self.holders.push(1);
        self.count() - 1
    }

    /// Adds a holder.
    pub fn share(&mut self, page: u32) {
        if page != DROPPED {
            self.holders[page as usize] += 1;
        }
    }

    /// Removes a holder.
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

    /// Gives the holder a page of its own before it writes. If the page is shared, its first `cells` cells are copied.
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
