//! Iterative freeing, so that long chains of values need no deep stack.

use std::cell::RefCell;

use crate::value::Value;

thread_local! {
    /// The values that wait while another value is freed. It is `None` while no value is being freed.
    static WAITING: RefCell<Option<Vec<Value>>> = const { RefCell::new(None) };
}

/// Frees values. If a value is being freed already, values that contain others wait until that is done.
pub(crate) fn release(values: impl IntoIterator<Item = Value>) {
    for value in values {
        if value.frees_others() {
            free(value);
        }
    }
}

fn free(value: Value) {
    let mut value = Some(value);
    // While the thread ends, the list is gone and the value is freed here.
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
