use std::cell::RefCell;
use std::rc::Rc;

use crate::CacheSpec;

/// A guard that keeps a slot of a [`Slots`] alive. The slot is freed when the last clone is dropped.
#[derive(Debug)]
pub struct Guard {
    index: u32,
    dropped: Rc<RefCell<Vec<u32>>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push(self.index);
    }
}

/// The values behind a back end's handles, by small ids. A value is freed after its last handle is dropped.
#[derive(Debug)]
pub struct Slots<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
    dropped: Rc<RefCell<Vec<u32>>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { items: Vec::new(), free: Vec::new(), dropped: Rc::default() }
    }
}

impl<T> Slots<T> {
    /// Stores `value` and returns the guard that keeps it.
    pub fn insert(&mut self, value: T) -> Rc<Guard> {
        drop(self.collect());
        let index = match self.free.pop() {
            Some(index) => {
                self.items[index as usize] = Some(value);
                index
            }
            None => {
                self.items.push(Some(value));
                (self.items.len() - 1) as u32
            }
        };
        Rc::new(Guard { index, dropped: Rc::clone(&self.dropped) })
    }

    /// Removes and returns the values whose handles are gone, so that a back end can reuse their memory.
    pub fn collect(&mut self) -> Vec<T> {
        let dropped = std::mem::take(&mut *self.dropped.borrow_mut());
        let values = dropped.iter().filter_map(|&i| self.items[i as usize].take()).collect();
        self.free.extend(dropped);
        values
    }

    /// Returns the values of all slots.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flatten()
    }

    /// Returns the value of a guard.
    ///
    /// # Panics
    /// Panics if the guard belongs to another table, that is, if a handle of another back end was passed.
    #[must_use]
    pub fn get(&self, guard: &Guard) -> &T {
        self.check(guard);
        self.items[guard.index as usize].as_ref().expect("a live guard keeps its slot")
    }

    /// Returns the value of a guard for changes.
    ///
    /// # Panics
    /// Panics as [`Slots::get`] does.
    pub fn get_mut(&mut self, guard: &Guard) -> &mut T {
        self.check(guard);
        self.items[guard.index as usize].as_mut().expect("a live guard keeps its slot")
    }

    /// Returns `true` if the guard belongs to this table.
    #[must_use]
    pub fn owns(&self, guard: &Guard) -> bool {
        Rc::ptr_eq(&self.dropped, &guard.dropped)
    }

    fn check(&self, guard: &Guard) {
        assert!(self.owns(guard), "a handle of another back end");
    }
}

macro_rules! matrix_handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            guard: Rc<Guard>,
            rows: usize,
            cols: usize,
        }

        impl $name {
            /// Returns a handle of shape `[rows, cols]` to the value of `guard`.
            #[must_use]
            pub fn new(guard: Rc<Guard>, rows: usize, cols: usize) -> Self {
                Self { guard, rows, cols }
            }

            /// Returns the number of rows.
            #[must_use]
            pub fn rows(&self) -> usize {
                self.rows
            }

            /// Returns the number of columns.
            #[must_use]
            pub fn cols(&self) -> usize {
                self.cols
            }

            /// Returns the guard of the slot.
            #[must_use]
            pub fn guard(&self) -> &Guard {
                &self.guard
            }

            /// Returns the number of the slot, which is unique among the live handles of a back end.
            #[must_use]
            pub fn index(&self) -> u32 {
                self.guard.index
            }

            /// Returns `true` if this is the only handle to its value, which may then be changed in place.
            #[must_use]
            pub fn is_unique(&self) -> bool {
                Rc::strong_count(&self.guard) == 1
            }
        }
    };
}

matrix_handle! {
    /// An activation matrix `[rows, cols]` of the step being recorded.
    Tensor
}
matrix_handle! {
    /// An uploaded weight `[rows = out, cols = in]` with its bias. A vector is `[1, n]`.
    Weight
}

/// The key-value storage of one model on a back end.
#[derive(Debug, Clone)]
pub struct Cache {
    guard: Rc<Guard>,
    spec: Rc<CacheSpec>,
}

impl Cache {
    /// Returns a handle to the value of `guard`.
    #[must_use]
    pub fn new(guard: Rc<Guard>, spec: Rc<CacheSpec>) -> Self {
        Self { guard, spec }
    }

    /// Returns the guard of the slot.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Returns the layers, groups and page length.
    #[must_use]
    pub fn spec(&self) -> &CacheSpec {
        &self.spec
    }
}
