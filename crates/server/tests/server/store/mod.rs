//! The store of budgets and records.

mod files;
mod money;
mod postgres;
mod sums;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use honelm_gateway::accounting::{Amount, Money, Usage};
use honelm_gateway::policy::Budget;
use honelm_server::gateway::accounts::{Holder, Record, Wish};
use honelm_server::gateway::store::{Identified, Location, Store};

/// Noon of 1 December 2026.
pub fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_796_126_400)
}

pub fn file(folder: &Path) -> Location {
    Location::File(folder.join("gateway.db"))
}

/// Opens the store of a gateway in a folder.
pub fn store(folder: &Path) -> Store {
    Store::new(file(folder), "USD").unwrap()
}

pub fn money(units: f64) -> Money {
    Money::from_units(units)
}

pub fn budget(day: Option<f64>, month: Option<f64>) -> Budget {
    let amount = |units: f64| Amount::try_from(units).unwrap();
    Budget { day: day.map(amount), month: month.map(amount) }
}

pub fn upstream() -> Holder {
    Holder::Upstream("provider".to_owned())
}

pub fn client() -> Holder {
    Holder::Client("editor".to_owned())
}

pub fn wish(holders: Vec<(Holder, Budget)>, units: f64) -> Wish {
    Wish { holders, amount: money(units), lapses: Duration::from_secs(60) }
}

pub fn record(id: &str) -> Identified {
    let record = Record {
        time: noon(),
        client: Some("editor".to_owned()),
        model: "large".to_owned(),
        upstream: Some("provider".to_owned()),
        route: Cow::Borrowed("cloud"),
        reason: "cloud-first".to_owned(),
        degraded: false,
        continued: false,
        complete: true,
        usage: Usage { input: 100, cached_input: 40, output: 10 },
        cost: money(0.25),
        cloud_only_cost: money(0.5),
        energy_joules: None,
        replaced: BTreeMap::from([(Cow::Borrowed("PERSON"), 2)]),
        first_token_seconds: Some(0.5),
        seconds: 1.25,
        failures: vec![("first".to_owned(), Cow::Borrowed("timeout"))],
    };
    Identified { id: id.to_owned(), record }
}
