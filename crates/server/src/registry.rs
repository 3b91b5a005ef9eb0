//! The models by name: loaded on demand within a budget of memory, unloaded when they are not used.

mod lease;
mod load;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::watch;

pub use lease::Lease;
pub(crate) use lease::Loaded;
pub use load::{Loader, Loading};

use crate::ApiError;
use crate::config::Config;
use crate::model::{ModelCard, Need};
use crate::worker::Bounds;

/// The time for which a model stays loaded after its last use.
pub type KeepAlive = Option<Duration>;

/// The interval between two looks for models that can be unloaded.
const TICK: Duration = Duration::from_millis(500);

/// A function that finds models by name.
type Discover = Box<dyn Fn() -> Vec<(String, Loader)> + Send + Sync>;

/// The models of a server.
pub struct Registry {
    entries: Mutex<BTreeMap<String, Entry>>,
    /// The first model, which requests without a name mean.
    first: Mutex<Option<String>>,
    budget: Option<u64>,
    idle: KeepAlive,
    bounds: Bounds,
    queue: usize,
    /// Finds the models that are not named.
    discover: Option<Discover>,
    discovered: tokio::sync::Mutex<Option<Instant>>,
    /// The threads of unloaded models that have not ended.
    ending: Mutex<Vec<watch::Receiver<()>>>,
    loads: Mutex<(u64, u64)>,
}

struct Entry {
    loader: Loader,
    state: State,
    /// The memory that the model needs, once it was planned.
    need: Option<Need>,
}

enum State {
    Unloaded,
    Loading(watch::Receiver<Option<Result<(), ApiError>>>),
    Loaded(Arc<Loaded>),
}

/// A model in the list of all models.
#[derive(Debug, Clone)]
pub struct Known {
    /// The name.
    pub name: String,
    /// The folder or file.
    pub path: Option<PathBuf>,
    /// The size of the weights in bytes, if it is known without opening the model.
    pub size_bytes: Option<u64>,
    /// The facts, once the model is loaded.
    pub card: Option<Arc<ModelCard>>,
}

/// The state of a model, for people and `honelm ps`.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The name.
    pub name: String,
    /// `loading`, `loaded` or `stopping`.
    pub state: &'static str,
    /// The memory that the planner computed, in bytes.
    pub need: Option<Need>,
    /// The most tokens of prompt and answer together.
    pub context: Option<usize>,
    /// The back end and its kernels.
    pub device: Option<String>,
    /// The jobs that are answered.
    pub active: usize,
    /// The jobs that wait.
    pub waiting: usize,
    /// The tokens of all prompts, those of them that were cached, and of all answers.
    pub prompt_tokens: u64,
    /// See [`Status::prompt_tokens`].
    pub cached_tokens: u64,
    /// See [`Status::prompt_tokens`].
    pub answer_tokens: u64,
    /// The draft tokens that were verified in finished answers.
    pub drafted_tokens: u64,
    /// Those of them that were accepted.
    pub accepted_tokens: u64,
    /// The seconds until the model is unloaded if nothing uses it.
    pub expires_seconds: Option<f64>,
}

impl Registry {
    /// Creates a registry without models, with the bounds of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let limits = &config.limits;
        let bounds = Bounds { request: Duration::from_secs(limits.request_seconds), client: limits.client() };
        let share = |memory: u64| memory / 4 * 3;
        let (budget, queue) = (config.memory_bytes.or_else(|| honelm::machine_memory().map(share)), limits.queue);
        let idle = (config.idle_seconds > 0).then(|| Duration::from_secs(config.idle_seconds));
        Self {
            entries: Mutex::default(),
            first: Mutex::default(),
            budget,
            idle,
            bounds,
            queue,
            discover: None,
            discovered: tokio::sync::Mutex::default(),
            ending: Mutex::default(),
            loads: Mutex::default(),
        }
    }

    /// Sets the function that finds models that were not added.
    pub(crate) fn discover_with(&mut self, discover: impl Fn() -> Vec<(String, Loader)> + Send + Sync + 'static) {
        self.discover = Some(Box::new(discover));
    }

    /// Adds a model. Of two models of one name, the first one stays.
    pub fn add(&self, name: String, loader: Loader) {
        lock(&self.first).get_or_insert_with(|| name.clone());
        let entry = Entry { loader, state: State::Unloaded, need: None };
        lock(&self.entries).entry(name).or_insert(entry);
    }

    /// Returns the budget in bytes.
    #[must_use]
    pub fn budget(&self) -> Option<u64> {
        self.budget
    }

    /// Returns the numbers of models that were loaded and unloaded.
    #[must_use]
    pub fn loads(&self) -> (u64, u64) {
        *lock(&self.loads)
    }

    /// Finds models that were added to the machine's folders, at most once in `every`.
    pub async fn refresh(self: &Arc<Self>, every: Duration) {
        if self.discover.is_none() {
            return;
        }
        let mut last = self.discovered.lock().await;
        if last.is_some_and(|last| last.elapsed() < every) {
            return;
        }
        let this = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || this.discover.as_ref().map(|discover| discover())).await;
        for (name, loader) in found.ok().flatten().into_iter().flatten() {
            self.add(name, loader);
        }
        *last = Some(Instant::now());
    }

    /// Returns all models by name.
    #[must_use]
    pub fn known(&self) -> Vec<Known> {
        let entries = lock(&self.entries);
        let known = entries.iter().map(|(name, entry)| Known {
            name: name.clone(),
            path: entry.loader.path().map(ToOwned::to_owned),
            size_bytes: entry.loader.size_bytes(),
            card: match &entry.state {
                State::Loaded(loaded) => Some(Arc::clone(&loaded.card)),
                _ => None,
            },
        });
        known.collect()
    }

    /// Returns the name of a model as the registry has it. An empty name and `default` are the first model; `:latest`, which
    /// some clients append, is ignored.
    pub(crate) async fn name_of(self: &Arc<Self>, name: &str) -> Result<String, ApiError> {
        let plain = name.strip_suffix(":latest").unwrap_or(name);
        if plain.is_empty() || plain == "default" {
            let first = lock(&self.first).clone();
            return first.ok_or_else(|| ApiError::no_model(name));
        }
        let has = |name: &str| lock(&self.entries).contains_key(name);
        if !has(plain) {
            self.refresh(Duration::from_secs(2)).await;
        }
        if has(plain) { Ok(plain.to_owned()) } else { Err(ApiError::no_model(name)) }
    }

    /// Returns a model, which is loaded if it is not. It is not unloaded before the lease is dropped, and then after
    /// `keep_alive`, or the server's own time.
    ///
    /// # Errors
    /// 404 for an unknown name, 400 for a model that never fits the budget, 503 for one that does not fit beside the models
    /// in use, 500 for one that cannot be loaded.
    pub async fn get(self: &Arc<Self>, name: &str, keep_alive: KeepAlive) -> Result<Lease, ApiError> {
        let name = self.name_of(name).await?;
        loop {
            let mut loading = {
                let mut entries = lock(&self.entries);
                let entry = entries.get_mut(&name).ok_or_else(|| ApiError::no_model(&name))?;
                match &entry.state {
                    State::Loaded(loaded) if loaded.is_alive() => {
                        loaded.set_keep_alive(keep_alive.or(self.idle));
                        return Ok(Lease::new(Arc::clone(loaded), self.queue));
                    }
                    State::Loading(loading) => loading.clone(),
                    _ => {
                        let (sender, receiver) = watch::channel(None);
                        entry.state = State::Loading(receiver.clone());
                        tokio::spawn(load::load(Arc::clone(self), name.clone(), sender));
                        receiver
                    }
                }
            };
            let outcome = loading.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
            match outcome {
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(error))) => return Err(error),
                _ => return Err(ApiError::internal("load-failed", format!("loading {name:?} ended unexpectedly"))),
            }
        }
    }

    /// Returns a model by its own name if it is loaded.
    pub(crate) fn loaded(&self, name: &str, keep_alive: KeepAlive) -> Option<Lease> {
        match &lock(&self.entries).get(name)?.state {
            State::Loaded(loaded) if loaded.is_alive() => {
                loaded.set_keep_alive(keep_alive.or(self.idle));
                Some(Lease::new(Arc::clone(loaded), self.queue))
            }
            _ => None,
        }
    }

    /// Reserves memory for a model, and unloads the least recently used idle ones to make room.
    fn reserve(&self, name: &str, need: Need) -> Result<(), ApiError> {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get_mut(name) {
            entry.need = Some(need);
        }
        let Some(budget) = self.budget else { return Ok(()) };
        let total = need.total();
        let sizes = |bytes: u64| honelm::units::bytes(bytes);
        if total > budget {
            let message = format!(
                "the model {name:?} does not fit: it needs {} (weights {}, cache {}, working memory {}), the server may use {}",
                sizes(total),
                sizes(need.weights),
                sizes(need.cache),
                sizes(need.scratch),
                sizes(budget)
            );
            return Err(ApiError::bad_request("model_too_large", message));
        }
        let held = |entry: &Entry| match entry.state {
            State::Unloaded => 0,
            _ => entry.need.map_or(0, |need| need.total()),
        };
        let others: u64 = entries.iter().filter(|(other, _)| *other != name).map(|(_, entry)| held(entry)).sum();
        let wanted = others.saturating_add(total).saturating_sub(budget);
        let mut idle: Vec<(Instant, String, u64)> = entries
            .iter()
            .filter_map(|(other, entry)| match &entry.state {
                State::Loaded(loaded) if !loaded.in_use() => Some((loaded.last_used(), other.clone(), held(entry))),
                _ => None,
            })
            .collect();
        idle.sort();
        let mut victims = Vec::new();
        let mut freed = 0u64;
        for (_, other, bytes) in idle {
            if freed >= wanted {
                break;
            }
            freed += bytes;
            victims.push((other, bytes));
        }
        if freed < wanted {
            let in_use: Vec<&str> = entries
                .iter()
                .filter(|(other, entry)| *other != name && held(entry) > 0)
                .map(|(other, _)| other.as_str())
                .collect();
            let message = format!(
                "the model {name:?} needs {} and does not fit beside the models in use ({}): the server may use {}",
                sizes(total),
                in_use.join(", "),
                sizes(budget)
            );
            return Err(ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "model_does_not_fit", message, 5));
        }
        // Spares those whose place is not needed, the most recently used ones first.
        for (victim, bytes) in victims.into_iter().rev() {
            if freed - bytes >= wanted {
                freed -= bytes;
                continue;
            }
            if let Some(entry) = entries.get_mut(&victim) {
                self.unload_entry(entry);
            }
        }
        Ok(())
    }

    fn unload_entry(&self, entry: &mut Entry) {
        if let State::Loaded(loaded) = std::mem::replace(&mut entry.state, State::Unloaded) {
            lock(&self.ending).push(loaded.end());
            lock(&self.loads).1 += 1;
        }
    }

    /// Waits until the memory of all unloaded models is free.
    async fn ended(&self) {
        let ending = std::mem::take(&mut *lock(&self.ending));
        for mut thread in ending {
            // Fails once the thread has ended.
            while thread.changed().await.is_ok() {}
        }
    }

    /// Unloads a model, after its answers if there are any. Returns `false` if it is not loaded.
    ///
    /// # Errors
    /// 404 for an unknown name.
    pub async fn stop(self: &Arc<Self>, name: &str) -> Result<bool, ApiError> {
        let name = self.name_of(name).await?;
        {
            let mut entries = lock(&self.entries);
            let Some(entry) = entries.get_mut(&name) else { return Err(ApiError::no_model(&name)) };
            let State::Loaded(loaded) = &entry.state else { return Ok(false) };
            if loaded.in_use() {
                loaded.set_keep_alive(Some(Duration::ZERO));
                return Ok(true);
            }
            self.unload_entry(entry);
        }
        self.ended().await;
        Ok(true)
    }

    /// Unloads models that were not used for their time. Never returns.
    pub(crate) async fn reap(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            for entry in lock(&self.entries).values_mut() {
                if let State::Loaded(loaded) = &entry.state
                    && (!loaded.is_alive() || loaded.expires().is_some_and(|left| left.is_zero()))
                {
                    self.unload_entry(entry);
                }
            }
            self.ended().await;
        }
    }

    /// Ends all jobs and unloads all models.
    pub(crate) async fn shut_down(&self) {
        for entry in lock(&self.entries).values_mut() {
            if let State::Loaded(loaded) = &entry.state {
                loaded.load.abort.store(true, Ordering::Relaxed);
            }
            self.unload_entry(entry);
        }
        self.ended().await;
    }

    /// Returns the states of the models that are loaded or loading.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        let entries = lock(&self.entries);
        let states = entries.iter().filter_map(|(name, entry)| match &entry.state {
            State::Unloaded => None,
            State::Loading(_) => Some(Status {
                name: name.clone(),
                state: "loading",
                need: entry.need,
                context: None,
                device: None,
                active: 0,
                waiting: 0,
                prompt_tokens: 0,
                cached_tokens: 0,
                answer_tokens: 0,
                drafted_tokens: 0,
                accepted_tokens: 0,
                expires_seconds: None,
            }),
            State::Loaded(loaded) => Some(loaded.status(name, entry.need)),
        });
        states.collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
