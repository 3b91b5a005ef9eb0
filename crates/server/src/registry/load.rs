//! Loading a model onto a thread of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use honelm::RunOptions;
use honelm_engine::DriverOptions;
use tokio::sync::{oneshot, watch};

use super::{Loaded, Registry, State, lock};
use crate::ApiError;
use crate::model::{Need, Served};
use crate::worker::{Load, Worker};

/// The number of full contexts whose keys and values are cached.
const CONTEXTS: u64 = 4;

/// The outcome of a load: the model, on the thread that loads it.
pub type Loading = Result<Box<dyn Served>, honelm::Error>;

/// The way to load a model.
#[derive(Clone)]
pub struct Loader {
    plan: Arc<dyn Fn() -> Result<Need, honelm::Error> + Send + Sync>,
    load: Arc<dyn Fn() -> Loading + Send + Sync>,
    /// Computes the digest of the weights.
    digest: Option<Arc<dyn Fn() -> Result<String, honelm::Error> + Send + Sync>>,
    path: Option<PathBuf>,
    size_bytes: Option<u64>,
}

impl Loader {
    /// Creates a loader from a function that computes the memory that the model needs, and one that loads it, which always
    /// follows.
    pub fn new(
        plan: impl Fn() -> Result<Need, honelm::Error> + Send + Sync + 'static,
        load: impl Fn() -> Loading + Send + Sync + 'static,
    ) -> Self {
        Self { plan: Arc::new(plan), load: Arc::new(load), digest: None, path: None, size_bytes: None }
    }

    /// Creates the loader of a folder or a GGUF file. `cache_bytes` bounds its cached keys and values; by default, they are
    /// those of four full contexts.
    #[must_use]
    pub fn of_path(path: &Path, run: &RunOptions, parallel: usize, cache_bytes: Option<usize>) -> Self {
        // The bound of the last plan, for the load that follows it.
        let bound = Arc::new(AtomicUsize::new(0));
        let (planned, of_plan, options) = (path.to_owned(), Arc::clone(&bound), run.clone());
        let plan = move || {
            let plan = honelm::plan_run(&planned, &options, parallel)?;
            let cache = cache_bytes.map_or(plan.cache_bytes.saturating_mul(CONTEXTS), |bytes| bytes as u64);
            of_plan.store(usize::try_from(cache).unwrap_or(usize::MAX), Ordering::Relaxed);
            let mut need = Need { weights: plan.weights_bytes, cache, scratch: plan.scratch_bytes };
            if let Some(draft) = &options.draft {
                let draft = honelm::plan_run(draft, &options, parallel)?;
                need.weights += draft.weights_bytes;
                need.scratch += draft.scratch_bytes;
            }
            Ok(need)
        };
        let (loaded, options) = (path.to_owned(), run.clone());
        let load = move || -> Loading {
            let cache_bytes = Some(bound.load(Ordering::Relaxed));
            let driver = DriverOptions { answers: parallel, cache_bytes, ..DriverOptions::default() };
            Ok(Box::new(honelm::Model::open_with(&loaded, &options, &driver, &mut |_| true)?))
        };
        let (hashed, options) = (path.to_owned(), run.clone());
        let digest = move || honelm::model_digest(&hashed, &options);
        Self { path: Some(path.to_owned()), digest: Some(Arc::new(digest)), ..Self::new(plan, load) }
    }

    /// Sets the size of the weights.
    #[must_use]
    pub fn with_size(self, bytes: u64) -> Self {
        Self { size_bytes: Some(bytes), ..self }
    }

    /// Checks that the model can be loaded, from the descriptions in its files.
    ///
    /// # Errors
    /// A file that is missing, damaged or of a model that cannot be run.
    pub fn check(&self) -> Result<(), honelm::Error> {
        (self.plan)().map(drop)
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(super) fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }
}

/// Loads a model that is in the state [`State::Loading`], and reports the outcome.
pub(super) async fn load(registry: Arc<Registry>, name: String, outcome: watch::Sender<Option<Result<(), ApiError>>>) {
    let result = attempt(&registry, &name).await;
    let (state, result) = match result {
        Ok(loaded) => {
            lock(&registry.loads).0 += 1;
            (State::Loaded(Arc::new(loaded)), Ok(()))
        }
        Err(error) => (State::Unloaded, Err(error)),
    };
    if let Some(entry) = lock(&registry.entries).get_mut(&name) {
        entry.state = state;
    }
    outcome.send_replace(Some(result));
}

async fn attempt(registry: &Arc<Registry>, name: &str) -> Result<Loaded, ApiError> {
    let loader = lock(&registry.entries).get(name).map(|entry| entry.loader.clone());
    let loader = loader.ok_or_else(|| ApiError::no_model(name))?;
    let failed = |error: honelm::Error| ApiError::of_loading(name, &error);
    let ended = || ApiError::internal("load-failed", format!("loading {name:?} ended unexpectedly"));
    let plan = Arc::clone(&loader.plan);
    let need = tokio::task::spawn_blocking(move || plan()).await.map_err(|_| ended())?.map_err(failed)?;
    registry.reserve(name, need)?;
    registry.ended().await;
    let (commands, receiver) = mpsc::channel();
    let (report, reported) = oneshot::channel();
    let (thread_alive, ending) = watch::channel(());
    let load = Arc::new(Load::default());
    let (of_worker, bounds, own_name) = (Arc::clone(&load), registry.bounds, name.to_owned());
    let work = move || {
        // Dropped last, when the model's memory is free.
        let _alive = thread_alive;
        match (loader.load)() {
            Ok(model) => {
                let card = model.card(&own_name);
                // Fails only if the server is gone.
                if report.send(Ok(card)).is_ok() {
                    Worker::new(model, receiver, of_worker, bounds).run();
                    // The next model is loaded within the same budget.
                    honelm::release_freed_memory();
                }
            }
            Err(error) => drop(report.send(Err(error))),
        }
    };
    let thread = std::thread::Builder::new().name(format!("model {name}"));
    thread.spawn(work).map_err(|error| ApiError::internal("io", format!("no thread for {name:?}: {error}")))?;
    let card = reported.await.map_err(|_| ended())?.map_err(failed)?;
    if let Some(compute) = loader.digest {
        let digest = Arc::clone(&card.digest);
        // Not waited for: it reads all weights, and a model without a digest answers too.
        let thread = std::thread::Builder::new().name(format!("digest {name}"));
        drop(thread.spawn(move || compute().map(|found| digest.get_or_init(|| found).clone())));
    }
    Ok(Loaded::new(card, commands, load, ending, registry.idle))
}
