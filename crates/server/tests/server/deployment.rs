//! The files for deployment.

use std::process::Command;

#[test]
fn systemd_accepts_the_unit() {
    let dir = tempfile::tempdir().unwrap();
    let unit = include_str!("../../../../deploy/honelm.service");
    assert!(unit.contains("ExecStart=/usr/local/bin/honelm serve"));
    let path = dir.path().join("honelm.service");
    // systemd looks for the program.
    std::fs::write(&path, unit.replace("/usr/local/bin/honelm", "/bin/true")).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg(&path).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.trim().is_empty(), "{said}");
        }
        Err(_) => println!("SKIPPED: there is no systemd-analyze"),
    }
}
