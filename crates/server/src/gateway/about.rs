//! What a response says about its route.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use honelm_gateway::policy::Reason;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The header with the route and the reason.
pub const HEADER: HeaderName = HeaderName::from_static("x-honelm");

/// The route of an answer, in the field `honelm` of a response.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct About {
    /// `local` or `cloud`. An answer that the device finished is `local`.
    pub route: &'static str,
    /// The code of the reason, such as `cloud-first`, `gain` or `upstream-failed`.
    pub reason: Cow<'static, str>,
    /// The reason for people.
    pub detail: String,
    /// `true` if the device answered only because the cloud was away.
    pub degraded: bool,
    /// `true` if the cloud began the answer and the device finished it.
    pub continued: bool,
    /// The upstream that answered, or began the answer.
    pub upstream: Option<String>,
    /// The cost of all attempts, in the gateway's currency.
    pub cost: f64,
    /// The cost that the preferred upstream alone would have had, minus `cost`.
    pub saved: f64,
    /// The currency.
    pub currency: String,
    /// The number of private values of each kind that were replaced before the request left.
    pub replaced: BTreeMap<Cow<'static, str>, usize>,
    /// The drafts of the device, if the upstream of this answer should verify any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drafts: Option<Drafted>,
    /// The `model` that answered, or finished the answer, an object with a `name`; of a local one also its `digest`, the
    /// `template_digest`, the `device` and the `sampling`.
    #[serde(flatten)]
    pub origin: Map<String, Value>,
}

/// The drafts that the device wrote for an answer, and an upstream verified.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Drafted {
    /// `trial` while times are measured, `on` or `off` as the times say, `unable` if the upstream or the request cannot have drafts.
    pub state: &'static str,
    /// The reason for people.
    pub reason: String,
    /// The rounds.
    pub rounds: u64,
    /// The drafted tokens.
    pub drafted: u64,
    /// Those of them that were accepted.
    pub accepted: u64,
}

impl About {
    /// Returns the value of the header.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        header(self.route, &self.reason)
    }
}

/// Returns the value of the header [`HEADER`].
pub(crate) fn header(route: &str, reason: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("route={route}; reason={reason}")).unwrap_or(HeaderValue::from_static("route=local"))
}

/// Adds the header about its route to a response that is not streamed.
pub(crate) fn with_header(mut response: Response, about: Option<&About>) -> Response {
    if let Some(about) = about {
        response.headers_mut().insert(HEADER, about.header());
    }
    response
}

/// Returns the code of a reason.
pub(crate) fn code(reason: &Reason) -> Cow<'static, str> {
    match serde_json::to_value(reason) {
        Ok(Value::Object(fields)) => match fields.get("code") {
            Some(Value::String(code)) => code.clone().into(),
            _ => "unknown".into(),
        },
        _ => "unknown".into(),
    }
}
