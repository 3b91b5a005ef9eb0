//! Budgets, in a file that two gateways share.

use std::sync::Arc;
use std::time::Duration;

use honelm_gateway::policy::Spent;
use honelm_server::gateway::accounts::Holder;
use honelm_server::gateway::store::Store;

use super::{budget, client, money, noon, store, upstream, wish};
use crate::common::runtime;

/// Lets two gateways ask for 1/100 of a budget 200 times at once, and checks that it is given 100 times.
pub async fn share_a_budget(first: Store, second: Store) {
    let (first, second) = (Arc::new(first), Arc::new(second));
    let limits = || vec![(upstream(), budget(Some(1.0), None)), (client(), budget(None, Some(1.5)))];
    let mut tasks = Vec::new();
    for at in 0..200 {
        let gateway = Arc::clone(if at % 2 == 0 { &first } else { &second });
        let wish = wish(limits(), 0.01);
        tasks.push(tokio::spawn(async move { gateway.reserve(&wish, noon()).await }));
    }
    let mut given = Vec::new();
    for task in tasks {
        match task.await.unwrap().unwrap() {
            Ok(reservation) => given.push(reservation),
            Err(spent) => assert_eq!(spent, (upstream(), "day")),
        }
    }
    assert_eq!(given.len(), 100, "reservations of 1/100 of the budget");
    let spent = |store: Arc<Store>| async move { store.spent(&[upstream(), client()], noon()).await.unwrap() };
    assert_eq!(spent(Arc::clone(&second)).await, [Spent { day: 1.0, month: 1.0 }; 2]);
    // Half of what was set aside is spent: by the other gateway's book as well.
    let settled: Vec<_> = given
        .into_iter()
        .enumerate()
        .map(|(at, of)| {
            let gateway = Arc::clone(if at % 2 == 0 { &second } else { &first });
            tokio::spawn(async move { gateway.settle(&of.id, money(0.005)).await })
        })
        .collect();
    for task in settled {
        task.await.unwrap().unwrap();
    }
    assert_eq!(spent(first).await, [Spent { day: 0.5, month: 0.5 }; 2]);
    second.reserve(&wish(limits(), 0.5), noon()).await.unwrap().expect("the other half");
}

#[test]
fn two_gateways_never_exceed_a_shared_budget() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(share_a_budget(store(folder.path()), store(folder.path())));
}

#[test]
fn the_reservation_of_a_crashed_gateway_lapses() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let limits = || vec![(upstream(), budget(Some(1.0), None))];
        let crashed = store(folder.path());
        let lost = crashed.reserve(&wish(limits(), 0.75), noon()).await.unwrap().expect("room");
        drop(crashed);
        let other = store(folder.path());
        let before = noon() + Duration::from_secs(59);
        assert_eq!(other.reserve(&wish(limits(), 0.5), before).await.unwrap(), Err((upstream(), "day")));
        let after = noon() + Duration::from_secs(60);
        let kept = other.reserve(&wish(limits(), 0.5), after).await.unwrap().expect("the money of the crashed gateway");
        // It was only slow: the money that it spent counts nevertheless, once.
        for _ in 0..2 {
            other.settle(&lost.id, money(0.25)).await.unwrap();
        }
        other.settle(&kept.id, money(0.0)).await.unwrap();
        assert_eq!(other.spent(&[upstream()], after).await.unwrap(), [Spent { day: 0.25, month: 0.25 }]);
    });
}

#[test]
fn days_and_months_are_those_of_utc() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = store(folder.path());
        let holder = || Holder::Client("a\"b: é".to_owned());
        let limits = || vec![(holder(), budget(Some(1.0), Some(1.5)))];
        let late = noon() + Duration::from_secs(12 * 3600 - 1);
        let of_first = store.reserve(&wish(limits(), 1.0), late).await.unwrap().expect("room");
        let next = late + Duration::from_secs(1);
        // The day is new, the month is not.
        assert_eq!(store.reserve(&wish(limits(), 0.75), next).await.unwrap(), Err((holder(), "month")));
        store.settle(&of_first.id, money(0.5)).await.unwrap();
        store.reserve(&wish(limits(), 1.0), next).await.unwrap().expect("the rest of the month");
        let [spent] = store.spent(&[holder()], late).await.unwrap()[..] else { panic!("one holder") };
        assert_eq!(spent, Spent { day: 0.5, month: 1.5 }, "a settlement counts in the day of its reservation");
        let january = next + Duration::from_secs(31 * 86_400);
        store.reserve(&wish(limits(), 1.0), january).await.unwrap().expect("a new month");
        // A day later, all reservations have lapsed; in spring, the sums of the winter are gone.
        store.remove_old_budgets(january + Duration::from_secs(100 * 86_400)).await.unwrap();
        assert_eq!(store.spent(&[holder()], late).await.unwrap(), [Spent::default()]);
    });
}

#[test]
fn a_wish_without_budgets_needs_no_store() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = store(folder.path());
        store.reserve(&wish(Vec::new(), 5.0), noon()).await.unwrap().expect("no budget");
        assert!(!folder.path().join("gateway.db").exists());
    });
}
