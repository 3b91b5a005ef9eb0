//! Models from the Hugging Face Hub.

use honelm_store::hub::{self, HttpTransport, HubSettings, ModelSpec, Patience, PullEvent, Pulled};

use crate::{Error, Event, Events};

/// The options of [`pull`].
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// The model.
    pub model: ModelSpec,
    /// Patterns that select files; if empty, the files that make up the model are selected.
    pub include: Vec<String>,
    /// The lowest rate of a connection in bytes per second, over 30 seconds; 0 allows any rate.
    pub slowest: u64,
}

/// Fetches a model into the cache that all tools of the Hub share. Honours the variables `HF_ENDPOINT`, `HF_HOME`,
/// `HF_HUB_CACHE`, `HF_TOKEN`, `HF_HUB_OFFLINE` and `HF_HUB_DISABLE_SYMLINKS`.
///
/// # Errors
/// As [`hub::pull`].
pub fn pull(options: &PullOptions, events: Events<'_>) -> Result<Pulled, Error> {
    let settings = HubSettings::from_env()?;
    let name = format!("fetching {}", options.model);
    let whole = hub::PullOptions {
        spec: options.model.clone(),
        include: options.include.clone(),
        settings,
        patience: Patience { slowest: options.slowest, ..Patience::default() },
    };
    let (mut detail, mut done, mut total) = (String::new(), 0, 0);
    let pulled = hub::pull(&whole, &HttpTransport::new()?, &mut |event| match event {
        PullEvent::Warning(text) => events(&Event::Warning(text)),
        PullEvent::Retry { problem, wait } => {
            events(&Event::Warning(&format!("{problem}; trying again in {:.1} s", wait.as_secs_f64())))
        }
        PullEvent::Progress { file, done: now, total: all } => {
            (done, total) = (*now, *all);
            (*file).clone_into(&mut detail);
            events(&Event::Transfer { name: &name, detail: &detail, done, total })
        }
        // Repeats the last event so that the caller can stop the pull.
        PullEvent::Waiting => events(&Event::Transfer { name: &name, detail: &detail, done, total }),
    });
    Ok(pulled?)
}
