use std::cell::RefCell;
use std::rc::Rc;

use crate::CacheSpec;

/// Keeps a slot of a [`Slots`] alive; the slot is freed when the last clone is dropped.
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

/// What a back end keeps behind its handles: values by small ids, freed by the handles' drop.
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

    /// Takes out the values whose handles are gone, so that a back end can reuse their memory.
    pub fn collect(&mut self) -> Vec<T> {
        let dropped = std::mem::take(&mut *self.dropped.borrow_mut());
        let values = dropped.iter().filter_map(|&i| self.items[i as usize].take()).collect();
        self.free.extend(dropped);
        values
    }

    /// The values of all slots.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flatten()
    }

    /// The value behind a guard.
    ///
    /// # Panics
    /// When the guard belongs to another table: a handle was given to a back end that did not make it.
    #[must_use]
    pub fn get(&self, guard: &Guard) -> &T {
        self.check(guard);
        self.items[guard.index as usize].as_ref().expect("a live guard keeps its slot")
    }

    /// The value behind a guard, to be changed.
    ///
    /// # Panics
    /// As [`Slots::get`].
    pub fn get_mut(&mut self, guard: &Guard) -> &mut T {
        self.check(guard);
        self.items[guard.index as usize].as_mut().expect("a live guard keeps its slot")
    }

    /// Whether the guard belongs to this table.
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
            /// A handle to what `guard` keeps, of shape `[rows, cols]`.
            #[must_use]
            pub fn new(guard: Rc<Guard>, rows: usize, cols: usize) -> Self {
                Self { guard, rows, cols }
            }

            /// Number of rows.
            #[must_use]
            pub fn rows(&self) -> usize {
                self.rows
            }

            /// Number of columns.
            #[must_use]
            pub fn cols(&self) -> usize {
                self.cols
            }

            /// The slot's guard.
            #[must_use]
            pub fn guard(&self) -> &Guard {
                &self.guard
            }

            /// The slot's number: unique among the live handles of one back end.
            #[must_use]
            pub fn index(&self) -> u32 {
                self.guard.index
            }

            /// Whether this is the only handle to its value, so that it may be changed in place.
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
    /// An uploaded weight `[rows = out, cols = in]`, its bias included; a vector is `[1, n]`.
    Weight
}

/// The key-value storage of one model on a back end.
#[derive(Debug, Clone)]
pub struct Cache {
    guard: Rc<Guard>,
    spec: Rc<CacheSpec>,
}

impl Cache {
    /// A handle to what `guard` keeps.
    #[must_use]
    pub fn new(guard: Rc<Guard>, spec: Rc<CacheSpec>) -> Self {
        Self { guard, spec }
    }

    /// The slot's guard.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Its layers, groups and page length.
    #[must_use]
    pub fn spec(&self) -> &CacheSpec {
        &self.spec
    }
}
