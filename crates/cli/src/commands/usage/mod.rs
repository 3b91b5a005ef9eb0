//! `honelm usage`: the requests that a gateway answered, what they cost and what was saved.

mod plot;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use honelm::accounting::{Money, Totals};
use honelm_server::gateway::store::{By, Group, Location, Store};
use serde_json::{Map, Value, json};

use crate::arguments::Global;
use crate::commands::plots;
use crate::failure::Failure;
use crate::{help, output};

/// The columns of a bar.
const BAR: usize = 30;

fn notes() -> String {
    help::notes(
        &[
            ("honelm usage", "the last 30 days, by day"),
            ("honelm usage --since 7d --by client", ""),
            ("honelm usage --since 2026-11-01 --by model --plot usage.svg", ""),
            ("honelm usage --records postgres://honelm@db/honelm --json", "records that several gateways share"),
        ],
        &[
            "The records are those that `honelm serve --gateway FILE` writes. They hold counts and names, and nothing that a client or \
             a model wrote. Days are those of UTC. Saved is the cost with the cloud alone minus the cost. Energy is that of this \
             machine while it answered, where its counters can be read.",
        ],
    )
}

/// Show the requests that a gateway answered: cost, savings, share on the device
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Usage {
    /// Records from this time on: a number of days, hours or minutes (7d, 12h, 90m), or a day such as 2026-11-01
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = since)]
    since: SystemTime,

    /// Property by which records are summed
    #[arg(long, value_enum, value_name = "NAME", default_value = "day")]
    by: Property,

    /// Write a plot, SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// Replace an earlier plot
    #[arg(long, requires = "plot")]
    force: bool,

    /// Records: sqlite:PATH or postgres://USER@HOST/DATABASE [default: the file gateway.db in this program's data folder]
    #[arg(long, value_name = "ADDRESS", env = "HONELM_RECORDS", hide_env_values = true)]
    records: Option<String>,
}

/// The property by which records are summed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Property {
    Client,
    Model,
    Day,
    Upstream,
}

impl From<Property> for By {
    fn from(property: Property) -> Self {
        match property {
            Property::Client => Self::Client,
            Property::Model => Self::Model,
            Property::Day => Self::Day,
            Property::Upstream => Self::Upstream,
        }
    }
}

/// Parses a begin: a span before now, or a day in UTC.
fn since(text: &str) -> Result<SystemTime, String> {
    let expected =
        || "expected a number of days, hours or minutes such as 7d, 12h or 90m, or a day such as 2026-11-01".to_owned();
    if let Some(seconds) = honelm_server::gateway::store::day_begin(text) {
        return Ok(UNIX_EPOCH + Duration::from_secs(seconds));
    }
    let unit = text.char_indices().next_back().map_or(0, |(at, _)| at);
    let (number, unit) = text.split_at(unit);
    let unit = match unit {
        "d" => 86_400,
        "h" => 3600,
        "m" => 60,
        _ => return Err(expected()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(expected)?;
    Ok(SystemTime::now().checked_sub(Duration::from_secs(seconds)).map_or(UNIX_EPOCH, |time| time.max(UNIX_EPOCH)))
}

/// The sums of a command.
struct Report {
    by: By,
    currency: String,
    groups: Vec<Group>,
    total: Group,
}

impl Usage {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        self.plot.as_ref().map(|path| plots::check(path, self.force)).transpose()?;
        let report = self.read()?;
        if let Some(path) = &self.plot {
            plots::write(path, self.force, &plot::of(&report), global)?;
        }
        if global.json {
            output::json(&report.json(self.since))?;
        } else {
            output::write(&report.text())?;
        }
        Ok(0)
    }

    fn read(&self) -> Result<Report, Failure> {
        let location = Location::new(self.records.as_deref()).map_err(Failure::Records)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Io("the runtime".to_owned(), error))?;
        let by = self.by.into();
        let read = async {
            let store = Store::open(location).await?;
            let groups = store.usage(self.since, by).await?;
            let currency = store.currency().await?.unwrap_or_default();
            store.close().await;
            Ok((groups, currency))
        };
        let (mut groups, currency) = runtime.block_on(read).map_err(Failure::Records)?;
        let mut total = Group { name: "all".to_owned(), ..Group::default() };
        for group in &mut groups {
            total.merge(group);
            if group.name.is_empty() {
                group.name = if by == By::Upstream { "(the device)" } else { "(no name)" }.to_owned();
            }
        }
        Ok(Report { by, currency, groups, total })
    }
}

impl Report {
    fn json(&self, since: SystemTime) -> Value {
        let seconds = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        json!({
            "since_unix_seconds": seconds,
            "by": self.by,
            "currency": self.currency,
            "groups": self.groups.iter().map(group_json).collect::<Vec<_>>(),
            "total": group_json(&self.total),
        })
    }

    fn text(&self) -> String {
        if self.groups.is_empty() {
            return "No requests since then.\n".to_owned();
        }
        let (money, cloud) = (format!("cost ({})", self.currency), format!("cloud only ({})", self.currency));
        let saved = format!("saved ({})", self.currency);
        let titles = [
            self.by.name(),
            "requests",
            "on the device",
            "degraded",
            "tokens in",
            "tokens out",
            &money,
            &cloud,
            &saved,
            "energy",
            "replaced",
        ];
        let total = (self.groups.len() > 1).then_some(&self.total);
        let rows: Vec<Vec<String>> = self.groups.iter().chain(total).map(cells).collect();
        let table = output::table(&titles, &rows).rank(1, &["tokens in", "tokens out", "energy", "replaced"]);
        let width = self.groups.iter().map(|group| group.name.chars().count()).max().unwrap_or(0);
        let bars: String = self.groups.iter().map(|group| bar(group, width)).collect();
        let kinds: Vec<String> = self.total.replaced.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!("\nReplaced: {}\n", kinds.join(", ")) };
        format!("{}\n\nShare answered on the device\n{bars}{kinds}", output::fitted(table))
    }
}

/// Returns the cells of a row.
fn cells(group: &Group) -> Vec<String> {
    let totals = &group.totals;
    vec![
        group.name.clone(),
        totals.requests.to_string(),
        percent(totals.local_requests, totals),
        totals.degraded_requests.to_string(),
        totals.input_tokens.to_string(),
        totals.output_tokens.to_string(),
        shown(totals.cost),
        shown(totals.cloud_only_cost),
        shown(totals.saved()),
        totals.energy_joules().map_or_else(|| "-".to_owned(), |joules| format!("{joules:.1} J")),
        totals.replaced.to_string(),
    ]
}

fn percent(part: u64, totals: &Totals) -> String {
    let share = if totals.requests > 0 { part as f64 / totals.requests as f64 } else { 0.0 };
    format!("{:.1}%", share * 100.0)
}

/// Returns an amount with four decimals, or with six where it is small.
fn shown(money: Money) -> String {
    let units = money.units();
    if units != 0.0 && units.abs() < 0.01 { format!("{units:.6}") } else { format!("{units:.4}") }
}

/// Draws the share of a group that was answered on the device.
fn bar(group: &Group, width: usize) -> String {
    let share = group.totals.local_share().unwrap_or(0.0);
    let full = (share * BAR as f64).round() as usize;
    let pad = " ".repeat(width.saturating_sub(group.name.chars().count()));
    let percent = percent(group.totals.local_requests, &group.totals);
    format!("{}{pad}  {}{}  {percent}\n", group.name, "█".repeat(full), "░".repeat(BAR - full))
}

fn group_json(group: &Group) -> Value {
    let totals = &group.totals;
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| out.insert(key.to_owned(), value);
    set("name", json!(group.name));
    set("requests", json!(totals.requests));
    set("local_requests", json!(totals.local_requests));
    set("local_percent", json!(totals.local_share().map(|share| share * 100.0)));
    set("degraded_requests", json!(totals.degraded_requests));
    set("refused_requests", json!(totals.refused_requests));
    set("input_tokens", json!(totals.input_tokens));
    set("cached_input_tokens", json!(totals.cached_input_tokens));
    set("output_tokens", json!(totals.output_tokens));
    set("cost", json!(totals.cost));
    set("cloud_only_cost", json!(totals.cloud_only_cost));
    set("saved", json!(totals.saved()));
    set("energy_joules", json!(totals.energy_joules()));
    set("measured_requests", json!(totals.measured_requests));
    let replaced: Vec<Value> =
        group.replaced.iter().map(|(kind, count)| json!({"kind": kind, "count": count})).collect();
    set("replaced", json!(replaced));
    Value::Object(out)
}
