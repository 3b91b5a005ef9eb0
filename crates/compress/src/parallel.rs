use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `f` for every task on this thread and up to `threads - 1` others, as many as the system starts. Which thread takes which task never changes a result, because tasks
/// share nothing.
pub(crate) fn for_each<T: Send>(tasks: Vec<T>, threads: usize, f: impl Fn(usize, T) + Sync) {
    let slots: Vec<_> = tasks.into_iter().map(|t| std::sync::Mutex::new(Some(t))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = slots.get(i) else { return };
            let task = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            if let Some(task) = task {
                f(i, task);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.clamp(1, slots.len().max(1)) {
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}
