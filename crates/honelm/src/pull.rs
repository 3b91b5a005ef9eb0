//! Models from the Hugging Face Hub.

use honelm_store::hub::{self, HttpTransport, HubSettings, ModelSpec, Patience, PullEvent, Pulled};

use crate::{Error, Event, Events};

/// What is fetched.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// The model.
    pub model: ModelSpec,
    /// Patterns of the files that are wanted; by default those that make up the model.
    pub include: Vec<String>,
    /// Bytes a second that a connection has to bring over half a minute; 0 puts up with any rate.
    pub slowest: u64,
}

/// Fetches a model into the cache that all tools of the Hub share. `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`
/// and `HF_HUB_OFFLINE` say from where, to where, as whom and whether.
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
        // The same once more: a chance to stop.
        PullEvent::Waiting => events(&Event::Transfer { name: &name, detail: &detail, done, total }),
    });
    Ok(pulled?)
}
