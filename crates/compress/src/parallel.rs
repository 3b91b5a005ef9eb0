//! Work on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use honelm_tensor::Matrix;

/// Runs `f` for every task on this thread and up to `threads - 1` others, as many as the system starts. Tasks share
/// nothing, so results do not depend on the thread that a task runs on.
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

/// The number of rows in a tile of [`sum_tiles`]. Fixed, so that sums never depend on the number of threads.
const TILE: usize = 64;

/// Returns the sum of `f` over tiles of rows of `w`, on up to `threads` threads.
pub(crate) fn sum_tiles<E: Send>(
    w: &Matrix,
    threads: usize,
    f: impl Fn(&Matrix) -> Result<f64, E> + Sync,
) -> Result<f64, E> {
    let tiles: Vec<&[f32]> = w.data.chunks(TILE * w.cols.max(1)).collect();
    let mut results: Vec<Result<f64, E>> = tiles.iter().map(|_| Ok(0.0)).collect();
    for_each(tiles.into_iter().zip(&mut results).collect(), threads, |_, (tile, result)| {
        *result = f(&Matrix::new(tile.len() / w.cols, w.cols, tile.to_vec()));
    });
    results.into_iter().sum()
}
