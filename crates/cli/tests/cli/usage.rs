//! `honelm usage`, on records that a store wrote.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use honelm::accounting::{Money, Usage};
use honelm_server::gateway::accounts::Record;
use honelm_server::gateway::store::{Identified, Location, Store};

use crate::common::{assert_fails, document, honelm, status, stderr, stdout};

/// Writes two answers of the device and one of the cloud, at noon of 1 December 2025 and three days later.
fn write(folder: &Path) {
    let noon = UNIX_EPOCH + Duration::from_secs(1_764_590_400);
    let of = |id: &str, client: &str, route: &'static str, time: SystemTime| {
        let is_local = route == "local";
        let record = Record {
            time,
            client: Some(client.to_owned()).filter(|client| !client.is_empty()),
            model: if is_local { "pocket" } else { "large" }.to_owned(),
            upstream: (!is_local).then(|| "provider".to_owned()),
            route: Cow::Borrowed(route),
            reason: "gain".to_owned(),
            degraded: id == "2",
            continued: false,
            complete: true,
            usage: Usage { input: 100, cached_input: 0, output: 50 },
            cost: if is_local { Money::ZERO } else { Money::from_units(0.25) },
            cloud_only_cost: Money::from_units(0.25),
            energy_joules: is_local.then_some(1.5),
            replaced: if is_local { BTreeMap::new() } else { BTreeMap::from([(Cow::Borrowed("PERSON"), 3)]) },
            first_token_seconds: None,
            seconds: 1.0,
            failures: Vec::new(),
        };
        Identified { id: id.to_owned(), record }
    };
    let later = noon + Duration::from_secs(3 * 86_400);
    let records = [of("1", "editor", "local", noon), of("2", "", "local", later), of("3", "editor", "cloud", later)];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Store::new(Location::File(folder.join("r.db")), "EUR").expect("a store");
        store.add(&records).await.expect("written");
        store.close().await;
    });
}

fn usage(folder: &Path, arguments: &[&str]) -> Output {
    let records = format!("sqlite:{}", folder.join("r.db").display());
    honelm().args(["usage", "--records", &records]).args(arguments).current_dir(folder).output().expect("it runs")
}

#[test]
fn sums_are_shown_by_day_client_and_model() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let by_day = usage(folder.path(), &["--since", "2025-12-01"]);
    assert_eq!(status(&by_day), 0, "{}", stderr(&by_day));
    let text = stdout(&by_day);
    for part in ["2025-12-01", "2025-12-04", "(EUR)", "0.7500", "0.5000", "66.7%", "3.0 J", "Replaced: 3 PERSON"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(text.contains("2025-12-01  ██████████████████████████████  100.0%"), "{text}");
    assert!(text.contains("2025-12-04  ███████████████░░░░░░░░░░░░░░░  50.0%"), "{text}");
    let by_client = document(&usage(folder.path(), &["--since", "2025-12-02", "--by", "client", "--json"]));
    assert_eq!((by_client["currency"].as_str(), by_client["by"].as_str()), (Some("EUR"), Some("client")));
    let groups = by_client["groups"].as_array().expect("groups");
    let of = |at: usize, key: &str| groups[at][key].clone();
    assert_eq!((groups.len(), of(0, "name"), of(1, "name")), (2, "(no name)".into(), "editor".into()));
    assert_eq!((of(0, "saved"), of(1, "saved"), of(1, "energy_joules")), (0.25.into(), 0.0.into(), ().into()));
    assert_eq!((of(0, "degraded_requests"), of(1, "replaced")[0]["count"].clone()), (1.into(), 3.into()));
    assert_eq!(by_client["total"]["requests"], 2);
    let by_upstream = stdout(&usage(folder.path(), &["--since", "2025-12-01", "--by", "upstream"]));
    assert!(by_upstream.contains("(the device)") && by_upstream.contains("provider"), "{by_upstream}");
}

#[test]
fn a_plot_is_written_and_not_replaced_unasked() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let plot = |more: &[&str]| {
        usage(folder.path(), &[&["--since", "2025-12-01", "--by", "model", "--plot", "u.svg"], more].concat())
    };
    let first = plot(&[]);
    assert_eq!(status(&first), 0, "{}", stderr(&first));
    let picture = std::fs::read_to_string(folder.path().join("u.svg")).expect("a plot");
    for part in ["<svg ", "Requests and cost by model", ">pocket</text>", "money (EUR)", "</svg>"] {
        assert!(picture.contains(part), "{part} is not in {picture}");
    }
    assert_fails(&plot(&[]), 1, &["u.svg", "--force"]);
    assert_eq!(status(&plot(&["--force"])), 0);
    std::fs::write(folder.path().join("u.svg"), "a letter").expect("written");
    assert_fails(&plot(&["--force"]), 1, &["u.svg", "a plot"]);
}

#[test]
fn records_that_are_missing_empty_or_broken_are_said() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_fails(&usage(folder.path(), &[]), 1, &["r.db", "found no records, expected those of"]);
    write(folder.path());
    let none = usage(folder.path(), &["--since", "1m"]);
    assert_eq!((status(&none), &*stdout(&none)), (0, "No requests since then.\n"));
    let none = document(&usage(folder.path(), &["--since", "1m", "--json"]));
    assert_eq!((none["groups"].as_array().map(Vec::len), none["total"]["requests"].as_u64()), (Some(0), Some(0)));
    let wrong = usage(folder.path(), &["--since", "yesterday"]);
    assert_fails(&wrong, 2, &["--since", "expected a number of days, hours or minutes"]);
    std::fs::write(folder.path().join("r.db"), "not a database, but a file of some length").expect("written");
    assert_fails(&usage(folder.path(), &[]), 1, &["r.db", "found a file of another kind"]);
    let address = honelm().args(["usage", "--records", "mysql://u:secret@h/d", "--json"]).output().expect("it runs");
    assert_eq!(status(&address), 1);
    let said = stdout(&address);
    assert!(said.contains("invalid-records-address") && !said.contains("secret"), "{said}");
}
