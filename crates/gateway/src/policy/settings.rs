//! The settings of a gateway, as `gateway.toml` holds them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::breaker::{BreakerSettings, RetrySettings};
use crate::accounting::{Amount, Prices};
use crate::estimator::Target;

/// The policy by which a request is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// On the device only.
    LocalOnly,
    /// On the device, unless it cannot.
    LocalFirst,
    /// In the cloud, unless it is away.
    CloudFirst,
    /// The place that the estimator chooses.
    #[default]
    Auto,
}

/// The privacy class of a request, the most open first. Of several that apply, the strictest holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Privacy {
    /// The request may leave as it is.
    Open,
    /// The request may leave after private data was replaced. If the detector fails, it stays.
    #[default]
    Masked,
    /// The request never leaves.
    Private,
}

/// What stands for private data in a request that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replacement {
    /// An invented value of the same form, which is turned back in the answer.
    #[default]
    Surrogate,
    /// The name of its kind, such as `<PERSON>`, which also stands in the answer.
    Mask,
    /// Nothing: a request with private data stays on the device.
    Block,
}

impl Policy {
    /// The names.
    pub const NAMES: [&str; 4] = ["local-only", "local-first", "cloud-first", "auto"];
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::LocalOnly, Self::LocalFirst, Self::CloudFirst, Self::Auto];
        let found = Self::NAMES.iter().position(|name| *name == text).map(|at| all[at]);
        found.ok_or_else(|| format!("found {text:?}, expected one of {}", Self::NAMES.join(", ")))
    }
}

impl Privacy {
    /// Reads the class that a request names. An unknown name is the strictest class.
    #[must_use]
    pub fn of_request(name: &str) -> Self {
        match name {
            "open" => Self::Open,
            "masked" => Self::Masked,
            _ => Self::Private,
        }
    }
}

/// A share, written as a percentage: `"75%"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Share(f64);

impl Share {
    /// Returns the share, 0 to 1.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
            Some(percent) => Ok(Self(percent / 100.0)),
            None => Err(format!("found {text:?}, expected a percentage from 0% to 100% such as \"75%\"")),
        }
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The settings of a gateway.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The policy of requests and clients that name none.
    #[serde(default)]
    pub policy: Policy,
    /// The most open privacy class of any request.
    #[serde(default)]
    pub privacy: Privacy,
    /// What stands for private data in requests of the class [`Privacy::Masked`].
    #[serde(default)]
    pub replacement: Replacement,
    /// The currency of prices and budgets.
    #[serde(default = "dollars")]
    pub currency: String,
    /// The model on the device.
    pub local: Local,
    /// The settings of the estimator.
    #[serde(default)]
    pub estimator: EstimatorSettings,
    /// The upstreams, at least one.
    #[serde(default, rename = "upstream")]
    pub upstreams: Vec<Upstream>,
    /// The clients that have settings of their own.
    #[serde(default, rename = "client")]
    pub clients: Vec<Client>,
    /// The settings of circuit breakers.
    #[serde(default)]
    pub breaker: BreakerSettings,
    /// The settings of retries.
    #[serde(default)]
    pub retry: RetrySettings,
    /// The settings of records and budgets.
    #[serde(default)]
    pub records: RecordSettings,
}

fn dollars() -> String {
    "USD".to_owned()
}

/// The settings of the records of requests, and of the budgets beside them.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordSettings {
    /// The place: `sqlite:PATH` or `postgres://USER@HOST/DATABASE` [default: a file in the folder of the program's data].
    pub url: Option<String>,
    /// The days for which records are kept; 0 keeps all.
    pub keep_days: u32,
}

impl RecordSettings {
    /// Returns `true` for an address of a kind that the gateway knows.
    #[must_use]
    pub fn is_address(url: &str) -> bool {
        let file = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
        // Records in memory would be lost.
        let is_file = file.is_some_and(|path| !path.is_empty() && path != ":memory:");
        is_file || url.starts_with("postgres://") || url.starts_with("postgresql://")
    }
}

impl Default for RecordSettings {
    fn default() -> Self {
        Self { url: None, keep_days: 90 }
    }
}

impl fmt::Debug for RecordSettings {
    /// Leaves out the address, which can hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordSettings").field("keep_days", &self.keep_days).finish_non_exhaustive()
    }
}

/// The model on the device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    /// The model: a name, a folder or a file.
    pub model: String,
    /// The longest prompt and answer together, in tokens.
    pub context: u64,
    /// `true` if it reads images.
    #[serde(default)]
    pub vision: bool,
    /// `true` if it calls tools.
    #[serde(default)]
    pub tools: bool,
}

/// The settings of the estimator. At most one of the targets is set.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EstimatorSettings {
    /// The file [default: the shipped estimator].
    pub file: Option<String>,
    /// The share of requests to keep on the device.
    pub keep_local: Option<Share>,
    /// The most requests that may stay on the device although only the cloud is right.
    pub max_false_local: Option<Share>,
    /// The threshold on the gain.
    pub threshold: Option<f32>,
    /// The largest share of a client's requests that the estimator may send to the cloud, against prompts that are written to be sent.
    pub max_escalated: Option<Share>,
}

impl EstimatorSettings {
    /// The share of requests that is kept on the device by default.
    const KEPT: f64 = 0.75;

    /// Returns the target of the threshold.
    #[must_use]
    pub fn target(&self) -> Target {
        match (self.threshold, self.max_false_local, self.keep_local) {
            (Some(threshold), ..) => Target::Gain(threshold),
            (None, Some(share), _) => Target::MaxFalseLocal(share.get()),
            (None, None, share) => Target::KeepLocal(share.map_or(Self::KEPT, Share::get)),
        }
    }
}

/// The interface of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// OpenAI's chat completions.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
}

/// The place of a key. It never stands in the file itself.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Key {
    /// An environment variable.
    Env(String),
    /// A file.
    File(String),
    /// No key: the upstream asks for none.
    None,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::None => f.write_str("none"),
        }
    }
}

/// The most that may be spent. Days and months are those of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The most in a day.
    pub day: Option<Amount>,
    /// The most in a month.
    pub month: Option<Amount>,
}

/// The money spent in the present day and month.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// In the day.
    pub day: f64,
    /// In the month.
    pub month: f64,
}

impl Budget {
    /// Returns `true` if `cost` more would exceed the budget.
    #[must_use]
    pub fn is_exceeded(&self, spent: Spent, cost: f64) -> bool {
        let over = |limit: Option<Amount>, spent: f64| limit.is_some_and(|limit| spent + cost > limit.get());
        over(self.day, spent.day) || over(self.month, spent.month)
    }
}

/// The times after which an upstream counts as silent, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: u32,
    /// From the request to the first byte of the answer.
    pub first_byte: u32,
    /// Between two tokens.
    pub between_tokens: u32,
    /// For the whole answer.
    pub total: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: 5, first_byte: 30, between_tokens: 15, total: 300 }
    }
}

/// An upstream.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The name, which is unique.
    pub name: String,
    /// The interface.
    pub api: Api,
    /// The address before `/chat/completions` or `/messages`: `https://api.example.com/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The place of the key.
    pub key: Key,
    /// The priority: lower numbers are tried first, and among equals the cheapest.
    #[serde(default)]
    pub priority: i32,
    /// The prices.
    pub price: Prices,
    /// The longest prompt and answer together, in tokens.
    pub context: u64,
    /// `true` if the model reads images.
    #[serde(default)]
    pub vision: bool,
    /// `true` if the model calls tools.
    #[serde(default = "yes")]
    pub tools: bool,
    /// The most that may be spent on it.
    #[serde(default)]
    pub budget: Budget,
    /// `true` to write drafts on the device that the upstream verifies, where that is faster. It must be another HoneLM whose model
    /// has the vocabulary of the local one.
    #[serde(default)]
    pub drafts: bool,
    /// The timeouts.
    #[serde(default)]
    pub timeout: Timeouts,
}

fn yes() -> bool {
    true
}

/// A client with settings of its own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The name, which is unique.
    pub name: String,
    /// The place of the key by which it is recognised.
    pub key: Key,
    /// The policy of its requests that name none.
    pub policy: Option<Policy>,
    /// The most open privacy class of its requests.
    pub privacy: Option<Privacy>,
    /// The most that its requests may cost.
    #[serde(default)]
    pub budget: Budget,
}
