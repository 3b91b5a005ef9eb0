//! Freeing values one after another rather than one inside the other, so that long chains need no deep stack.

use std::cell::RefCell;

use super::value::Value;

thread_local! {
    /// Values that wait while another one is freed; nothing while none is.
    static WAITING: RefCell<Option<Vec<Value>>> = const { RefCell::new(None) };
}

/// Frees values. Those that hold others wait until the one that is being freed is gone.
pub(super) fn release(values: impl IntoIterator<Item = Value>) {
    for value in values {
        if value.frees_others() {
            free(value);
        }
    }
}

fn free(value: Value) {
    let mut value = Some(value);
    // While the thread ends there is no list any more, and the value is freed here.
    let first = WAITING.try_with(|waiting| match (&mut *waiting.borrow_mut(), value.take()) {
        (Some(list), Some(value)) => {
            list.push(value);
            None
        }
        (list, value) => {
            *list = Some(Vec::new());
            value
        }
    });
    let mut next = first.unwrap_or(None);
    if next.is_none() {
        return;
    }
    while next.is_some() {
        drop(next.take());
        next = WAITING.try_with(|waiting| waiting.borrow_mut().as_mut().and_then(Vec::pop)).unwrap_or(None);
    }
    let _ = WAITING.try_with(|waiting| waiting.take());
}
