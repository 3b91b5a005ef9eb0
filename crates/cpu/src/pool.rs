//! A thread pool for kernels. Workers claim tasks one by one, spin briefly between calls, then park.

use std::cell::Cell;
use std::marker::PhantomData;

#[cfg(any(doc, not(target_arch = "wasm32")))]
use crate::default_threads;

/// The largest number of threads in a pool. Systems refuse to start many more, and then cannot start any for other programs.
pub const MOST_THREADS: usize = 1024;

/// A pool that runs numbered tasks on a fixed number of threads, including the caller's.
///
/// A call allocates nothing. A pool belongs to one thread (it is not `Sync`), so calls never nest or overlap.
pub struct Pool {
    #[cfg(not(target_arch = "wasm32"))]
    workers: Option<native::Workers>,
    threads: usize,
    one_caller: PhantomData<Cell<()>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Pool {
    /// Creates a pool of `threads` threads, including the caller's: at most [`MOST_THREADS`]; `None` means
    /// [`default_threads`]. The pool has fewer threads if the system cannot start them, and always one in the browser.
    #[must_use]
    pub fn new(threads: Option<usize>) -> Self {
        #[cfg(target_arch = "wasm32")]
        {
            let _ = threads;
            Self { threads: 1, one_caller: PhantomData }
        }
        #[cfg(not(target_arch = "wasm32"))]
        {
            let wanted = threads.unwrap_or_else(default_threads).clamp(1, MOST_THREADS);
            let workers = (wanted > 1).then(|| native::Workers::start(wanted - 1));
            let threads = 1 + workers.as_ref().map_or(0, native::Workers::len);
            Self { workers, threads, one_caller: PhantomData }
        }
    }

    /// Returns the number of threads, including the caller's.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `f(task, thread)` once for each task in `0..tasks`. `thread` is less than `self.threads()`, and no two calls
    /// with the same `thread` run at the same time.
    ///
    /// # Panics
    /// Panics if a task panics, after all other tasks have ended.
    pub fn run_on(&self, tasks: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(workers) = &self.workers
            && tasks > 1
        {
            workers.run(tasks, f);
            return;
        }
        for task in 0..tasks {
            f(task, 0);
        }
    }

    /// Calls `f(task)` once for each task in `0..tasks`.
    ///
    /// # Panics
    /// Panics under the conditions of [`Pool::run_on`].
    pub fn run(&self, tasks: usize, f: impl Fn(usize) + Sync) {
        self.run_on(tasks, &|task, _| f(task));
    }

    /// Calls `f(task, scratch)` once for each task in `0..tasks`; each thread has its own scratch.
    ///
    /// # Panics
    /// Panics if there are fewer scratches than threads, or under the conditions of [`Pool::run_on`].
    pub fn run_with<S: Send>(&self, scratch: &mut [S], tasks: usize, f: impl Fn(usize, &mut S) + Sync) {
        assert!(scratch.len() >= self.threads, "{} scratches for {} threads", scratch.len(), self.threads);
        let base = Shared(scratch.as_mut_ptr());
        self.run_on(tasks, &|task, thread| {
            let base = &base;
            // SAFETY: `thread < threads <= scratch.len()`, and calls with the same `thread` do not overlap, so there is no
            // other reference to this scratch. `scratch` stays borrowed until all tasks have ended.
            let scratch = unsafe { &mut *base.0.add(thread) };
            f(task, scratch);
        });
    }
}

struct Shared<T>(*mut T);

impl Pool {
    /// Calls `f(i, part)` for each part of `len` consecutive items; the last part may be shorter.
    ///
    /// # Panics
    /// Panics if `len` is 0, or under the conditions of [`Pool::run_on`].
    pub fn run_parts<T: Send>(&self, items: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        let total = items.len();
        let base = Shared(items.as_mut_ptr());
        self.run_on(total.div_ceil(len), &|task, _| {
            let base = &base;
            let start = task * len;
            // SAFETY: each task runs once, the tasks cover different parts of `items`, and `items` stays borrowed until all
            // have ended.
            let part = unsafe { std::slice::from_raw_parts_mut(base.0.add(start), len.min(total - start)) };
            f(task, part);
        });
    }
}
// SAFETY: the pointer leads to `T: Send` values, each of which is accessed by one thread at a time (see `run_with`).
unsafe impl<T: Send> Sync for Shared<T> {}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::any::Any;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
    use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
    use std::thread::JoinHandle;
    use std::time::{Duration, Instant};

    /// The time that a thread spins before it sleeps.
    const SPIN: Duration = Duration::from_micros(50);

    /// One call of `run`, on the caller's stack until all its tasks are done.
    struct Job<'a> {
        f: &'a (dyn Fn(usize, usize) + Sync),
        tasks: usize,
        done: AtomicUsize,
        panic: Mutex<Option<Box<dyn Any + Send>>>,
    }

    struct State {
        /// The number of the call (high half) and of its unclaimed tasks (low half). A claim compares and exchanges both, so
        /// a thread that arrives late cannot claim a task of a later call.
        word: AtomicU64,
        job: AtomicPtr<Job<'static>>,
        sleepers: AtomicUsize,
        stop: AtomicBool,
        lock: Mutex<()>,
        wake: Condvar,
    }

    pub(super) struct Workers {
        state: Arc<State>,
        handles: Vec<JoinHandle<()>>,
    }

    impl State {
        fn guard(&self) -> MutexGuard<'_, ()> {
            self.lock.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Claims and runs tasks until none is left.
        fn work(&self, thread: usize) {
            let mut word = self.word.load(Ordering::Acquire);
            while word & 0xffff_ffff != 0 {
                match self.word.compare_exchange_weak(word, word - 1, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        let job = self.job.load(Ordering::Acquire);
                        // SAFETY: the claim succeeded, so the caller of this job waits until this task is counted as done
                        // below. Until then the job is alive and `self.job` is not replaced.
                        let job = unsafe { &*job };
                        let task = job.tasks - (word & 0xffff_ffff) as usize;
                        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| (job.f)(task, thread))) {
                            *job.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
                        }
                        // The job may be gone after this.
                        job.done.fetch_add(1, Ordering::Release);
                        word = self.word.load(Ordering::Acquire);
                    }
                    Err(now) => word = now,
                }
            }
        }

        fn idle(&self) -> bool {
            self.word.load(Ordering::Acquire) & 0xffff_ffff == 0 && !self.stop.load(Ordering::Acquire)
        }

        fn worker(&self, thread: usize) {
            while !self.stop.load(Ordering::Acquire) {
                self.work(thread);
                if spin_while(|| self.idle()) {
                    continue;
                }
                let mut guard = self.guard();
                self.sleepers.fetch_add(1, Ordering::SeqCst);
                // Paired with the fence in `run`: either this thread sees the new tasks, or the caller sees a sleeper and
                // takes the lock.
                fence(Ordering::SeqCst);
                while self.idle() {
                    guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
                }
                self.sleepers.fetch_sub(1, Ordering::SeqCst);
            }
        }

        fn wake_sleepers(&self) {
            fence(Ordering::SeqCst);
            if self.sleepers.load(Ordering::SeqCst) > 0 {
                drop(self.guard());
                self.wake.notify_all();
            }
        }
    }

    /// Spins while `busy`, for at most [`SPIN`]. Returns `true` if `busy` ended in time.
    fn spin_while(busy: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                if !busy() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() > SPIN {
                return false;
            }
        }
    }

    impl Workers {
        /// Starts `count` threads, or as many as the system allows.
        pub(super) fn start(count: usize) -> Self {
            let state = Arc::new(State {
                word: AtomicU64::new(0),
                job: AtomicPtr::new(null_mut()),
                sleepers: AtomicUsize::new(0),
                stop: AtomicBool::new(false),
                lock: Mutex::new(()),
                wake: Condvar::new(),
            });
            let spawn = |thread: usize| {
                let state = Arc::clone(&state);
                std::thread::Builder::new().name(format!("honelm-{thread}")).spawn(move || state.worker(thread)).ok()
            };
            let handles = (1..=count).map_while(spawn).collect();
            Self { state, handles }
        }

        pub(super) fn len(&self) -> usize {
            self.handles.len()
        }

        pub(super) fn run(&self, tasks: usize, f: &(dyn Fn(usize, usize) + Sync)) {
            let claims = u32::try_from(tasks).expect("fewer than 2^32 tasks");
            let job = Job { f, tasks, done: AtomicUsize::new(0), panic: Mutex::new(None) };
            self.state.job.store((&raw const job).cast_mut().cast(), Ordering::Release);
            let call = (self.state.word.load(Ordering::Relaxed) >> 32).wrapping_add(1);
            self.state.word.store(call << 32 | u64::from(claims), Ordering::Release);
            self.state.wake_sleepers();
            self.state.work(0);
            let unfinished = || job.done.load(Ordering::Acquire) < tasks;
            while !spin_while(unfinished) {
                std::thread::yield_now();
            }
            let cause = job.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(cause) = cause {
                resume_unwind(cause);
            }
        }
    }

    impl Drop for Workers {
        fn drop(&mut self) {
            self.state.stop.store(true, Ordering::Release);
            drop(self.state.guard());
            self.state.wake.notify_all();
            for handle in self.handles.drain(..) {
                // A worker catches the panics of its tasks, so it has none of its own.
                let _ = handle.join();
            }
        }
    }
}
