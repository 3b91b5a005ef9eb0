//! Two gateways that share a PostgreSQL database, on a cluster of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use honelm_server::gateway::store::{By, Location, Store, StoreError};

use super::money::share_a_budget;
use super::{noon, record};
use crate::common::runtime;

/// A server that runs until it is dropped.
struct Cluster {
    server: Child,
    folder: tempfile::TempDir,
}

/// Finds the newest server of Debian's packages.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.retain(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file());
    found.sort();
    found.pop()
}

/// Creates a command that does not run as root, which the server refuses.
fn as_user(program: &Path, folder: &Path) -> Command {
    use std::os::unix::fs::{MetadataExt, chown};
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let mut command = if is_root {
        // The user `nobody`.
        chown(folder, Some(65534), Some(65534)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(folder);
    command
}

impl Cluster {
    fn start() -> Option<Self> {
        let bin = programs()?;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut initdb = as_user(&bin.join("initdb"), folder.path());
        initdb.args(["--auth=trust", "--username=honelm", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"]);
        assert!(initdb.arg(&data).status().unwrap().success(), "initdb");
        let mut server = as_user(&bin.join("postgres"), folder.path());
        server.arg("-D").arg(&data).arg("-k").arg(folder.path());
        let server = server.args(["-c", "listen_addresses=", "-c", "fsync=off"]).spawn().unwrap();
        let cluster = Self { server, folder };
        let begin = Instant::now();
        while !cluster.folder.path().join(".s.PGSQL.5432").exists() {
            assert!(begin.elapsed() < Duration::from_secs(30), "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(cluster)
    }

    fn store(&self) -> Store {
        Store::new(self.location("postgres"), "USD").unwrap()
    }

    fn location(&self, database: &str) -> Location {
        let host = self.folder.path().display();
        format!("postgres://honelm@localhost/{database}?host={host}").parse().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Ends the server with all its processes.
        let _ = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

#[test]
fn two_gateways_share_a_database() {
    let Some(cluster) = Cluster::start() else {
        println!("SKIPPED: budgets in PostgreSQL (found no server in /usr/lib/postgresql)");
        return;
    };
    runtime().block_on(async {
        // Both create the tables at once.
        let (first, second) = (cluster.store(), cluster.store());
        let (one, two) = tokio::join!(first.ready(), second.ready());
        one.and(two).unwrap();
        second.add(&[record("a")]).await.unwrap();
        second.add(&[record("a"), record("b")]).await.unwrap();
        assert_eq!(first.recent(9).await.unwrap(), [record("a").record, record("b").record]);
        for by in [By::Client, By::Model, By::Day, By::Upstream] {
            let groups = first.usage(noon(), by).await.unwrap();
            let [group] = &groups[..] else { panic!("{groups:?}") };
            assert_eq!((group.totals.requests, group.totals.input_tokens, group.totals.replaced), (2, 200, 4));
            assert_eq!(group.totals.energy_joules(), None);
        }
        first.remove_old_budgets(noon()).await.unwrap();
        first.remove_records_before(noon()).await.unwrap();
        share_a_budget(first, second).await;
        let euros = Store::new(cluster.location("postgres"), "EUR").unwrap();
        assert!(matches!(euros.ready().await, Err(StoreError::Currency { .. })));
        let missing = Store::new(cluster.location("none"), "USD").unwrap().ready().await.expect_err("no database");
        assert!(!missing.is_passing() && missing.to_string().contains("\"none\" does not exist"), "{missing}");
        let location = cluster.location("postgres");
        drop(cluster);
        let away = Store::new(location, "USD").unwrap().ready().await.expect_err("no server");
        assert!(away.is_passing() && away.to_string().contains("cannot be used now"), "{away}");
    });
}
