//! Compilation of kernels while a step is still being recorded: natively on a few threads; a browser compiles in a process of
//! its own.

#[cfg(target_arch = "wasm32")]
pub(crate) use asking::Builders;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use threads::Builders;

#[cfg(not(target_arch = "wasm32"))]
mod threads {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::thread::{self, JoinHandle};

    use crate::kernel::Kernel;

    /// The kernels that wait to be built, and the number of threads that build.
    #[derive(Debug, Default)]
    struct Wanted {
        kernels: VecDeque<Arc<Kernel>>,
        building: usize,
    }

    /// Threads that build kernels in the order of the requests. They end when no request is left.
    #[derive(Debug, Default)]
    pub(crate) struct Builders {
        wanted: Arc<Mutex<Wanted>>,
        threads: RefCell<Vec<JoinHandle<()>>>,
    }

    fn lock(wanted: &Mutex<Wanted>) -> MutexGuard<'_, Wanted> {
        wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl Builders {
        /// Requests a kernel. If no thread can be started, the kernel is built when it is first needed.
        pub(crate) fn ask(&self, device: &wgpu::Device, kernel: &Arc<Kernel>) {
            let mut wanted = lock(&self.wanted);
            wanted.kernels.push_back(Arc::clone(kernel));
            if wanted.building >= thread::available_parallelism().map_or(1, usize::from) {
                return;
            }
            let (device, shared) = (device.clone(), Arc::clone(&self.wanted));
            if let Ok(started) =
                thread::Builder::new().name("kernels".to_owned()).spawn(move || build(&device, &shared))
            {
                wanted.building += 1;
                let mut threads = self.threads.borrow_mut();
                threads.retain(|thread| !thread.is_finished());
                threads.push(started);
            }
        }
    }

    fn build(device: &wgpu::Device, wanted: &Mutex<Wanted>) {
        loop {
            let mut guard = lock(wanted);
            let Some(kernel) = guard.kernels.pop_front() else {
                guard.building -= 1;
                return;
            };
            drop(guard);
            kernel.pipeline(device);
        }
    }

    /// Waits for the threads: the driver must not be compiling when the program ends.
    impl Drop for Builders {
        fn drop(&mut self) {
            lock(&self.wanted).kernels.clear();
            for thread in self.threads.get_mut().drain(..) {
                drop(thread.join());
            }
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod asking {
    use std::sync::Arc;

    use crate::kernel::Kernel;

    /// Passes requests on to the browser.
    #[derive(Debug, Default)]
    pub(crate) struct Builders;

    impl Builders {
        pub(crate) fn ask(&self, device: &wgpu::Device, kernel: &Arc<Kernel>) {
            kernel.pipeline(device);
        }
    }
}
