//! Sums of records.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use honelm_gateway::accounting::{Money, Usage};
use honelm_server::gateway::accounts::Record;
use honelm_server::gateway::store::{By, Group, Identified};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{noon, record, store};
use crate::common::runtime;

/// The names that clients and models of generated records have.
const NAMES: [&str; 4] = ["", "a", "b'; DROP TABLE honelm_records; --", "ü\"{}"];

/// The fields of a generated record.
type Fields = (
    (u64, Option<String>, String, Option<String>),
    (usize, [bool; 3], [u64; 3]),
    (i64, i64, Option<u64>),
    BTreeMap<&'static str, usize>,
);

fn records() -> impl Strategy<Value = Vec<Identified>> {
    let name = || prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned);
    let token = || 0u64..1 << 40;
    let one = (
        (0u64..200 * 3600, prop::option::of(name()), name(), prop::option::of(name())),
        (0usize..3, any::<[bool; 3]>(), [token(), token(), token()]),
        (0i64..1 << 50, 0i64..1 << 50, prop::option::of(0u64..1 << 40)),
        prop::collection::btree_map(prop::sample::select(vec!["PERSON", "IBAN_CODE", "URL"]), 1usize..1000, 0..3),
    );
    let record = |((seconds, client, model, upstream), (route, flags, tokens), money, replaced): Fields| Record {
        time: UNIX_EPOCH + Duration::from_secs(1_796_000_000 + seconds),
        client,
        model,
        upstream,
        route: Cow::Borrowed(["local", "cloud", "refused"][route]),
        reason: "gain".to_owned(),
        degraded: flags[0],
        continued: flags[1],
        complete: flags[2],
        usage: Usage { input: tokens[0], cached_input: tokens[1], output: tokens[2] },
        cost: Money::from_nanos(money.0),
        cloud_only_cost: Money::from_nanos(money.1),
        energy_joules: money.2.map(|microjoules| microjoules as f64 / 1e6),
        replaced: replaced.into_iter().map(|(kind, count)| (Cow::Borrowed(kind), count)).collect(),
        first_token_seconds: flags[0].then_some(0.25),
        seconds: 0.5,
        failures: Vec::new(),
    };
    prop::collection::vec(one.prop_map(record), 1..40).prop_map(|records| {
        let identified = |(at, record)| Identified { id: format!("{at:04}"), record };
        records.into_iter().enumerate().map(identified).collect()
    })
}

#[test]
fn sums_equal_records_and_records_return_as_they_were() {
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 24, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let case = |(records, hours): (Vec<Identified>, u64)| {
        let folder = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let store = store(folder.path());
            // A retry after a lost answer adds nothing.
            store.add(&records).await.unwrap();
            store.add(&records[..1]).await.unwrap();
            let since = UNIX_EPOCH + Duration::from_secs(1_796_000_000 + hours * 3600);
            for by in [By::Client, By::Model, By::Day, By::Upstream] {
                let found = store.usage(since, by).await.unwrap();
                let of_time = records.iter().map(|of| &of.record).filter(|record| record.time >= since);
                assert_eq!(found, Group::of(of_time, by), "{by:?}");
            }
            let mut expected = records.clone();
            expected.sort_by(|a, b| b.record.time.cmp(&a.record.time).then(a.id.cmp(&b.id)));
            let expected: Vec<Record> = expected.into_iter().map(|of| of.record).collect();
            assert_eq!(store.recent(1000).await.unwrap(), expected);
        });
        Ok(())
    };
    runner.run(&(records(), 0u64..200), case).unwrap();
}

#[test]
fn old_records_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = store(folder.path());
        let mut late = record("late");
        late.record.time = noon() + Duration::from_secs(1);
        store.add(&[record("early"), late.clone()]).await.unwrap();
        store.remove_records_before(noon() + Duration::from_millis(1)).await.unwrap();
        assert_eq!(store.recent(9).await.unwrap(), [late.record]);
        assert_eq!(store.usage(noon() + Duration::from_secs(2), By::Model).await.unwrap(), []);
    });
}
