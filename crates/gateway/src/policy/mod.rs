//! The policy: where a request is answered, by which upstream, and when an upstream is tried again.
//!
//! Everything here is a pure function of settings ([`Settings`], read from `gateway.toml`), a request, and a state with a time.

mod breaker;
mod decide;
mod file;
mod settings;

pub use breaker::{Breaker, BreakerSettings, Event, Failure, RetrySettings, retry_pause};
pub use decide::{Decision, Obstacle, Reason, Request, Route, State, UpstreamState, decide};
pub use settings::{
    Api, Budget, Client, EstimatorSettings, Key, Local, Policy, Privacy, RecordSettings, Replacement, Settings, Share,
    Spent, Timeouts, Upstream,
};
