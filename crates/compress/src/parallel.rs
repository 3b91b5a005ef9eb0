use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `f` for every task on all processors. Which thread takes which task never changes a result, because tasks
/// share nothing.
pub(crate) fn for_each<T: Send>(tasks: Vec<T>, threads: usize, f: impl Fn(usize, T) + Sync) {
    let slots: Vec<_> = tasks.into_iter().map(|t| std::sync::Mutex::new(Some(t))).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, slots.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(slot) = slots.get(i) else { return };
                    let task = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                    if let Some(task) = task {
                        f(i, task);
                    }
                }
            });
        }
    });
}
