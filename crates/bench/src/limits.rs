//! The CPUs that this process may use.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the number of CPUs whose time the control groups of this process allow, for example 0.5; `None` without a limit.
#[must_use]
pub fn cpu_limit() -> Option<f64> {
    limit_below(Path::new("/"))
}

fn limit_below(root: &Path) -> Option<f64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let (mount, second) = match controllers {
            "" => ("sys/fs/cgroup", true),
            names if names.split(',').any(|name| name == "cpu") => ("sys/fs/cgroup/cpu", false),
            _ => return Vec::new(),
        };
        let mount = root.join(mount);
        // A group has at most what each group above it has. In a container the group of the process is the root.
        let group = Path::new(group.trim_start_matches('/'));
        let mut folders: Vec<PathBuf> = group.ancestors().map(|part| mount.join(part)).collect();
        folders.push(mount);
        folders.iter().filter_map(|folder| if second { max_of(folder) } else { quota_of(folder) }).collect()
    });
    limits.reduce(f64::min)
}

/// Returns the limit of a group of version 2: `50000 100000` is half a CPU.
fn max_of(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    share(quota, period)
}

/// Returns the limit of a group of version 1.
fn quota_of(folder: &Path) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    share(read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim())
}

/// Returns the quotient; `None` for `max` and for -1, which are no limit.
fn share(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::made_up::write;

    #[test]
    fn the_smallest_limit_of_all_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(limit_below(root), None);
        write(root, "proc/self/cgroup", "0::/a/b\n");
        write(root, "sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        assert_eq!(limit_below(root), None);
        write(root, "sys/fs/cgroup/a/cpu.max", "50000 100000\n");
        assert_eq!(limit_below(root), Some(0.5));
        write(root, "proc/self/cgroup", "4:cpu,cpuacct:/job\n1:memory:/x\n");
        write(root, "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "-1\n");
        write(root, "sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
        assert_eq!(limit_below(root), None);
        write(root, "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "150000\n");
        assert_eq!(limit_below(root), Some(1.5));
        write(root, "proc/self/cgroup", "nonsense\n:\n4:cpu\n");
        write(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "0 x\n");
        assert_eq!(limit_below(root), None);
    }
}
