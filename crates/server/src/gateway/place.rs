//! The place of an answer: a loaded model, or a gateway's model that need not be loaded if the cloud answers.

use std::sync::Arc;

use honelm_engine::Generation;
use tokio::sync::mpsc;

use super::answer::Answer;
use super::{Ask, Gateway};
use crate::ApiError;
use crate::app::App;
use crate::job::{Job, Parts};
use crate::model::ModelCard;
use crate::registry::{KeepAlive, Lease};

/// The number of parts that wait for a client.
const CHANNEL: usize = 64;

/// The place of an answer.
pub struct Place {
    card: Arc<ModelCard>,
    pub(super) lease: Option<Lease>,
    pub(super) keep_alive: KeepAlive,
    gateway: Option<Arc<Gateway>>,
}

impl Place {
    /// Returns the facts about the local model; those of the gateway file if it is not loaded.
    #[must_use]
    pub fn card(&self) -> &ModelCard {
        &self.card
    }
}

impl App {
    /// Returns `true` if requests may have images, because an upstream reads them.
    pub(crate) fn reads_images(&self) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| gateway.reads_images())
    }

    /// Returns the place for a request to the model `name`. The model is loaded, unless it is the one of a gateway.
    ///
    /// # Errors
    /// As [`Registry::get`](crate::Registry::get).
    pub async fn place(&self, name: &str, keep_alive: KeepAlive) -> Result<Place, ApiError> {
        if let Some(gateway) = &self.gateway {
            let own = self.registry.name_of("").await?;
            if self.registry.name_of(name).await? == own {
                let lease = self.registry.loaded(&own, keep_alive);
                let card = match &lease {
                    Some(lease) => Arc::new(ModelCard { images: gateway.reads_images(), ..lease.card().clone() }),
                    None => Arc::new(planned(own, gateway)),
                };
                return Ok(Place { card, lease, keep_alive, gateway: Some(Arc::clone(gateway)) });
            }
        }
        let lease = self.registry.get(name, keep_alive).await?;
        Ok(Place { card: lease.shared_card(), lease: Some(lease), keep_alive, gateway: None })
    }

    /// Gives a job to the place that answers it: the model, or what a gateway decides.
    ///
    /// # Errors
    /// 429 if too many jobs wait.
    pub fn submit(&self, place: Place, job: Job, ask: Ask) -> Result<Parts, ApiError> {
        let Some(gateway) = place.gateway.clone() else {
            job.refuse_images()?;
            let unloaded = || ApiError::internal("load-failed", "the model is not loaded");
            return place.lease.as_ref().ok_or_else(unloaded)?.submit(job);
        };
        let choices = job.choices.max(1);
        let (sender, receiver) = mpsc::channel(CHANNEL);
        let answer = Answer::new(self, gateway, place, job, ask, sender);
        let parts = Parts::new(receiver, None, choices).with_head(answer.head());
        tokio::spawn(answer.run());
        Ok(parts)
    }
}

/// Returns what a gateway file says about its local model.
fn planned(name: String, gateway: &Gateway) -> ModelCard {
    ModelCard {
        name,
        path: Default::default(),
        digest: Arc::default(),
        architecture: String::new(),
        parameters: 0,
        vocabulary: u32::MAX as usize,
        vocabulary_digest: String::new(),
        context: usize::try_from(gateway.settings().local.context).unwrap_or(usize::MAX),
        generation: Generation::default(),
        template: None,
        template_digest: None,
        reasons: true,
        images: gateway.reads_images(),
        ends: (None, None),
        embedding: None,
        encoder: false,
        device: String::new(),
        load_seconds: 0.0,
    }
}
