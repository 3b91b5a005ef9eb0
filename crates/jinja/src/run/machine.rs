//! The state of a rendering.

use std::rc::Rc;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::value::scope::Scope;
use crate::value::{Object, ObjectKind};

/// A rendering.
pub(crate) struct Machine {
    pub budget: Budget,
    /// The time for `strftime_now`.
    pub clock: Option<Clock>,
    /// The largest size of the output, in bytes.
    pub output_limit: usize,
    /// `true` while text is written into a value rather than to the output.
    pub capturing: bool,
    /// The scopes that macros and recursive loops refer to. They may form reference cycles.
    pub kept: Vec<Rc<Scope>>,
    /// The namespaces, and the loops that store values. They may form reference cycles.
    pub changing: Vec<Object>,
}

impl Drop for Machine {
    /// Breaks the reference cycles, which would otherwise leak.
    fn drop(&mut self) {
        for scope in &self.kept {
            scope.clear();
        }
        for object in &self.changing {
            match object.kind() {
                ObjectKind::Namespace(entries) => drop(entries.take()),
                ObjectKind::Loop(state) => drop(state.seen.take()),
                _ => {}
            }
        }
    }
}
