//! The part of a request that concerns the gateway: its client, policy and privacy class.

use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName};
use honelm_gateway::policy::{Policy, Privacy};
use serde_json::Value;

use super::Gateway;
use crate::ApiError;

/// The header that names a policy.
pub const POLICY: HeaderName = HeaderName::from_static("x-honelm-policy");
/// The header that names a privacy class.
pub const PRIVACY: HeaderName = HeaderName::from_static("x-honelm-privacy");

/// What a request asks of the gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ask {
    /// The policy that it names.
    pub policy: Option<Policy>,
    /// The privacy class that it names.
    pub privacy: Option<Privacy>,
    /// The client, as an index into the settings.
    pub client: Option<usize>,
}

impl Ask {
    /// Reads the headers of a request, and the metadata of its body. A header has authority over the metadata for the policy;
    /// of two privacy classes, the stricter holds, and an unknown one is the strictest. Without a gateway, nothing is asked.
    ///
    /// # Errors
    /// 400 for an unknown policy.
    pub fn of(gateway: Option<&Gateway>, headers: &HeaderMap, metadata: Option<&Value>) -> Result<Self, ApiError> {
        let Some(gateway) = gateway else { return Ok(Self::default()) };
        let policy = match headers.get(&POLICY) {
            Some(value) => Some(("x-honelm-policy", String::from_utf8_lossy(value.as_bytes()).into_owned())),
            None => text_of(metadata, "honelm_policy").map(|text| ("metadata.honelm_policy", text)),
        };
        let policy = match policy {
            None => None,
            Some((place, text)) => {
                Some(Policy::from_str(text.trim()).map_err(|problem| ApiError::invalid(place, problem))?)
            }
        };
        let class = |text: &str| Privacy::of_request(text.trim());
        let named = headers.get_all(&PRIVACY).iter().map(|value| class(&String::from_utf8_lossy(value.as_bytes())));
        let in_body = text_of(metadata, "honelm_privacy").map(|text| class(&text));
        let privacy = named.chain(in_body).max();
        Ok(Self { policy, privacy, client: gateway.client_of(headers) })
    }
}

/// Returns a value of the metadata. One that is no text counts as its JSON text, so that it is not overlooked.
fn text_of(metadata: Option<&Value>, name: &str) -> Option<String> {
    match metadata?.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
