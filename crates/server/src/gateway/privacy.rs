//! Private data on its way out, and back: the last step before a request leaves, and the first after its answer came.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use honelm_gateway::GatewayError;
use honelm_gateway::pii::{Api, Detector, Mode, Redactor, Restorer, Vault};
use serde_json::Value;
use zeroize::Zeroizing;

/// What a request needs to leave with its private data replaced.
pub(crate) struct Privacy {
    detector: Detector,
    mode: Mode,
    /// Secret, and the same for the run of the gateway, so that a value has one surrogate in all requests.
    key: Zeroizing<[u8; 32]>,
}

/// A body that may leave.
pub(crate) struct Masked {
    /// The JSON text.
    pub body: Bytes,
    /// Turns the surrogates in the answer back; `None` if there are none.
    pub restorer: Option<Restorer>,
    /// The number of replaced values of each kind.
    pub replaced: BTreeMap<Cow<'static, str>, usize>,
}

impl Masked {
    /// Returns a body that leaves as it is.
    pub fn open(body: &Value) -> Self {
        Self { body: body.to_string().into(), restorer: None, replaced: BTreeMap::new() }
    }
}

impl Privacy {
    /// Creates the detector, and a key for this run.
    ///
    /// # Errors
    /// [`GatewayError::Detector`] if there is no randomness for the key.
    pub fn new(mode: Mode) -> Result<Self, GatewayError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice())
            .map_err(|_| GatewayError::Detector { reason: "the machine gives no random numbers" })?;
        Ok(Self { detector: Detector::new(Default::default())?, mode, key })
    }

    fn replace(&self, api: Api, mut body: Value) -> Result<Masked, GatewayError> {
        let mut redactor = Redactor::new(&self.detector, self.mode, Vault::new(*self.key));
        redactor.request(api, &mut body)?;
        let replaced = redactor.replaced().iter().map(|(kind, count)| (kind.name().into(), *count)).collect();
        // Masks are alike for all values of a kind, so that nothing can turn them back.
        let restores = self.mode == Mode::Surrogate && !redactor.vault().is_empty();
        let restorer = restores.then(|| redactor.vault().restorer());
        Ok(Masked { body: body.to_string().into(), restorer, replaced })
    }
}

/// Replaces the private data of a body, on a thread where that may take its time.
///
/// # Errors
/// As [`Redactor::request`], and [`GatewayError::Detector`] for a detector that panics. Nothing may leave then.
pub(crate) async fn masked(privacy: &Arc<Privacy>, api: Api, body: Value) -> Result<Masked, GatewayError> {
    let privacy = Arc::clone(privacy);
    let work = tokio::task::spawn_blocking(move || privacy.replace(api, body));
    work.await.unwrap_or(Err(GatewayError::Detector { reason: "it ended unexpectedly" }))
}

/// Turns the surrogates of an answer back, while it streams.
#[derive(Default)]
pub(crate) struct Restoring {
    of: Option<Restorer>,
    /// `true` if the texts are JSON, in which values are escaped.
    is_json: bool,
    /// The restorers of the texts, and of the reasoning, of each answer.
    streams: BTreeMap<(usize, bool), Restorer>,
}

impl Restoring {
    pub fn new(of: Option<Restorer>, is_json: bool) -> Self {
        Self { of, is_json, streams: BTreeMap::new() }
    }

    /// Returns `true` if nothing was replaced.
    pub fn is_empty(&self) -> bool {
        self.of.is_none()
    }

    /// Takes the next text, or reasoning, of an answer, and returns what is certain by now.
    pub fn push(&mut self, choice: usize, is_reasoning: bool, text: String) -> String {
        let Some(of) = &self.of else { return text };
        let escapes = usize::from(self.is_json && !is_reasoning);
        let new = || of.fork().escaping(escapes);
        self.streams.entry((choice, is_reasoning)).or_insert_with(new).push(&text)
    }

    /// Returns the rest of a text, or of the reasoning, at its end.
    pub fn finish(&mut self, choice: usize, is_reasoning: bool) -> String {
        self.streams.remove(&(choice, is_reasoning)).map_or_else(String::new, |mut stream| stream.finish())
    }

    /// Restores the arguments of a call, which are JSON text.
    pub fn arguments(&self, text: String) -> String {
        match &self.of {
            Some(of) => of.fork().escaping(1).text(&text),
            None => text,
        }
    }
}
