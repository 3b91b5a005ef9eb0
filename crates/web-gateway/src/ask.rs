//! The argument of a decision.

use std::time::Duration;

use honelm_gateway::accounting::Prices;
use honelm_gateway::policy::{
    Api, Budget, EstimatorSettings, Key, Local, Policy, Privacy, Replacement, Request, Settings, Share, Timeouts,
    Upstream,
};
use serde::Deserialize;
use serde_json::Value;

/// A request, with what the user has chosen and the places that can answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    pub policy: Policy,
    privacy: Privacy,
    /// The share of requests that stays in the tab with the policy `auto`, such as `75%`.
    keep_local: Share,
    /// The longest prompt and answer together that the model in the tab takes, in tokens, and that of the server if it is known.
    local_context: u64,
    server_context: Option<u64>,
    prompt_tokens: u64,
    answer_tokens: u64,
    needs_tools: bool,
    /// `false` if private data could not be replaced.
    pub is_masked: bool,
    /// The present, in milliseconds on any clock that does not go back.
    now: f64,
    pub messages: Vec<Value>,
}

impl Ask {
    pub fn now(&self) -> Duration {
        super::clock(self.now)
    }

    pub fn estimator(&self) -> EstimatorSettings {
        EstimatorSettings { keep_local: Some(self.keep_local), ..EstimatorSettings::default() }
    }

    pub fn request(&self) -> Request {
        Request {
            policy: Some(self.policy),
            privacy: Some(self.privacy),
            prompt_tokens: self.prompt_tokens,
            answer_tokens: self.answer_tokens,
            needs_vision: false,
            needs_tools: self.needs_tools,
        }
    }

    /// Returns the settings of a gateway with one server. The prices of a user's own server are not known, and a page has no budgets.
    pub fn settings(&self) -> Settings {
        let server = Upstream {
            name: "server".to_owned(),
            api: Api::OpenAi,
            url: String::new(),
            model: String::new(),
            key: Key::None,
            priority: 0,
            price: Prices::default(),
            context: self.server_context.unwrap_or(u64::MAX),
            vision: false,
            tools: true,
            budget: Budget::default(),
            drafts: false,
            timeout: Timeouts::default(),
        };
        Settings {
            policy: self.policy,
            privacy: self.privacy,
            replacement: Replacement::default(),
            currency: String::new(),
            local: Local { model: String::new(), context: self.local_context, vision: false, tools: true },
            estimator: self.estimator(),
            upstreams: vec![server],
            clients: Vec::new(),
            breaker: Default::default(),
            retry: Default::default(),
            records: Default::default(),
        }
    }
}
