//! Files that are damaged, locked, foreign, or of another version, and a store that fails for a while.

use std::path::Path;
use std::time::Duration;

use honelm_server::LogFormat;
use honelm_server::gateway::accounts::{Accounts, AccountsError};
use honelm_server::gateway::store::{By, Location, Store, StoreError, StoredAccounts};
use sqlx::AnyConnection;
use sqlx::{Connection, Executor};

use super::{budget, file, noon, record, store, upstream, wish};
use crate::common::runtime;

/// Opens the file of a folder as another program does.
async fn other_program(folder: &Path) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let address = format!("sqlite://{}?mode=rwc", folder.join("gateway.db").display());
    AnyConnection::connect(&address).await.unwrap()
}

/// Executes statements on the file of a folder.
async fn execute(folder: &Path, statements: &str) {
    let mut connection = other_program(folder).await;
    connection.execute(statements).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn tables_of_the_first_version_are_updated_and_keep_their_records() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        execute(folder.path(), include_str!("version_1.sql")).await;
        let older = Store::open(file(folder.path())).await.expect_err("readers change nothing");
        assert!(matches!(older, StoreError::Older { found: 1, expected: 2, .. }), "{older}");
        let store = store(folder.path());
        let records = store.recent(9).await.unwrap();
        let [old] = &records[..] else { panic!("{records:?}") };
        let expected = record("").record;
        assert_eq!((&old.model, old.usage, old.cost), (&expected.model, expected.usage, expected.cost));
        assert!(old.complete && !old.continued && old.failures.is_empty(), "{old:?}");
        store.reserve(&wish(vec![(upstream(), budget(Some(1.0), None))], 0.5), noon()).await.unwrap().expect("room");
        assert_eq!(Store::open(file(folder.path())).await.unwrap().currency().await.unwrap().as_deref(), Some("USD"));
    });
}

#[test]
fn files_that_are_no_records_of_this_version_are_refused_by_name() {
    let check = |prepare: &str, expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        let error = runtime().block_on(async {
            store(folder.path()).ready().await.unwrap();
            execute(folder.path(), prepare).await;
            store(folder.path()).ready().await.expect_err(expected)
        });
        let said = error.to_string();
        assert!(said.contains("gateway.db: ") && said.contains(expected), "{said}");
        assert!(!error.is_passing(), "{said}");
    };
    check(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (7, 'later', TRUE, x'00', 0)",
        "found tables of version 7, expected at most 2",
    );
    check("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1", "found a changed version 1 of the tables");
    check("UPDATE honelm_settings SET value = 'EUR'", "found records in EUR, expected USD");
    check("CREATE TABLE songs (name TEXT)", "found the table \"songs\" of another program");
}

#[test]
fn broken_files_are_refused_by_name() {
    let refused = |prepare: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        prepare(&folder.path().join("gateway.db"));
        let error = runtime().block_on(store(folder.path()).ready()).expect_err("refused");
        let read = runtime().block_on(Store::open(file(folder.path()))).expect_err("refused");
        (error.code(), error.to_string(), read.code())
    };
    let (code, said, _) = refused(&|path| std::fs::write(path, "no database at all, but long enough").unwrap());
    assert!(code == "corrupt-records" && said.contains("found a file of another kind"), "{said}");
    let (code, said, _) = refused(&|path| std::fs::create_dir(path).unwrap());
    assert!(code == "records-database" && said.contains("found no regular file"), "{said}");
    let (code, said, read) = refused(&|path| {
        let folder = path.parent().unwrap();
        runtime().block_on(async {
            let store = store(folder);
            store.add(&[record("a")]).await.unwrap();
            store.close().await;
        });
        let mut bytes = std::fs::read(path).unwrap();
        // The header stays right.
        bytes[100..].fill(0x5a);
        std::fs::write(path, bytes).unwrap();
    });
    assert!(code == "corrupt-records" && read == code && said.contains("found a damaged file"), "{code} {read} {said}");
    let missing = tempfile::tempdir().unwrap();
    let error = runtime().block_on(Store::open(file(missing.path()))).expect_err("missing");
    assert!(error.to_string().contains("found no records, expected those of `honelm serve --gateway`"), "{error}");
    assert!(!missing.path().join("gateway.db").exists(), "readers create nothing");
}

#[test]
fn wrong_rows_are_named_with_their_field() {
    for (change, field, found) in [
        ("input_tokens = 'many'", "input_tokens", "many"),
        ("output_tokens = -3", "output_tokens", "-3"),
        ("cost = -1", "cost", "-1"),
        ("energy = 'low'", "energy", "low"),
        ("degraded = 2", "degraded", "2"),
        ("replaced = '[1]'", "replaced", "[1]"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let store = store(folder.path());
            store.add(&[record("good"), record("bad")]).await.unwrap();
            let change = format!("UPDATE honelm_records SET {change} WHERE id = 'bad'");
            let mut other = other_program(folder.path()).await;
            if field != "replaced" {
                other.execute(&*change).await.expect_err("the tables do not take it");
            }
            other.execute("PRAGMA ignore_check_constraints = 1").await.unwrap();
            other.execute(&*change).await.unwrap();
            let error = store.usage(noon(), By::Model).await.expect_err(field).to_string();
            for part in [field, &format!("found \"{found}\""), "expected "] {
                assert!(error.contains(part), "{part} is not in {error}");
            }
        });
    }
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = store(folder.path());
        store.add(&[record("bad")]).await.unwrap();
        execute(folder.path(), "UPDATE honelm_records SET failures = 'none'").await;
        let error = store.recent(1).await.expect_err("failures").to_string();
        let expected = "record bad: failures: found \"none\", expected a JSON array of pairs";
        assert!(error.ends_with(expected), "{error}");
    });
}

#[test]
fn while_a_file_is_locked_nothing_with_a_budget_leaves_and_records_wait() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let accounts = StoredAccounts::open(store(folder.path()), 0, LogFormat::Off).await.unwrap();
        let limits = || vec![(upstream(), budget(Some(1.0), None))];
        let reserved = accounts.reserve(wish(limits(), 0.5)).await.unwrap();
        let mut other = other_program(folder.path()).await;
        other.execute("BEGIN EXCLUSIVE").await.unwrap();
        let refused = accounts.reserve(wish(limits(), 0.25)).await.expect_err("no budget check, no cloud");
        assert!(matches!(&refused, AccountsError::Store(said) if said.contains("another program has locked it")));
        assert!(accounts.problem().is_some_and(|problem| problem.contains("another program has locked it")));
        // Answers on the device go on, and so do requests without a budget.
        accounts.reserve(wish(Vec::new(), 0.25)).await.unwrap();
        accounts.record(record("").record).await.unwrap();
        accounts.settle(reserved, super::money(0.25)).await.unwrap();
        other.execute("COMMIT").await.unwrap();
        accounts.flush().await;
        assert_eq!((accounts.problem(), accounts.lost()), (None, 0));
        assert_eq!(accounts.recent(9).await.unwrap(), [record("").record]);
        let spent = accounts.spent(&[upstream()]).await.unwrap();
        assert!((spent[0].day - 0.25).abs() < 1e-12, "{spent:?}");
    });
}

#[test]
fn a_record_that_the_database_refuses_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let accounts = StoredAccounts::open(store(folder.path()), 30, LogFormat::Off).await.unwrap();
        let mut wrong = record("").record;
        wrong.route = "elsewhere".into();
        let mut old = record("").record;
        old.time = std::time::UNIX_EPOCH + Duration::from_secs(1);
        for record in [wrong, old.clone(), record("").record] {
            accounts.record(record).await.unwrap();
        }
        accounts.flush().await;
        assert_eq!(accounts.recent(9).await.unwrap(), [record("").record, old]);
        assert_eq!(accounts.lost(), 1);
    });
}

#[test]
fn a_file_in_a_new_folder_is_for_its_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/records 100%?.db");
    runtime().block_on(async {
        let store = Store::new(Location::File(path.clone()), "USD").unwrap();
        store.add(&[record("a")]).await.unwrap();
        store.close().await;
    });
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(path.is_file());
}
