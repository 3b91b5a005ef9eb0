//! Completions and manual pages.

use crate::common::{assert_fails, run, status, stderr, stdout};

const COMMANDS: [&str; 6] = ["optimize", "chat", "run", "pull", "completions", "man"];

#[test]
fn every_shell_has_completions() {
    for (shell, sign) in [
        ("bash", "complete -F _honelm"),
        ("zsh", "#compdef honelm"),
        ("fish", "complete -c honelm"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion:arg-completer"),
    ] {
        let output = run(&["completions", shell]);
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        let script = stdout(&output);
        for word in COMMANDS.into_iter().chain([sign, "include", "temperature"]) {
            assert!(script.contains(word), "{word} is not in the completions of {shell}");
        }
        assert!(!script.contains("Prints load time"), "what is hidden is not completed in {shell}");
    }
    assert_fails(&run(&["completions", "tcsh"]), 2, &["bash", "zsh", "fish"]);
}

#[test]
#[cfg(unix)]
fn bash_completes_commands_and_options() {
    let script = run(&["completions", "bash"]).stdout;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("honelm.bash");
    std::fs::write(&path, script).expect("written");
    let ask = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let test = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _honelm honelm '{}' '{}'; echo \"${{COMPREPLY[@]}}\"",
            path.display(),
            words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let output = std::process::Command::new("bash").args(["--norc", "-c", &test]).output();
        output.ok().map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
    };
    let Some(commands) = ask("honelm pu") else {
        eprintln!("SKIPPED bash_completes_commands_and_options: needs bash");
        return;
    };
    assert_eq!(commands.trim(), "pull");
    assert_eq!(ask("honelm pull --inc").expect("bash").trim(), "--include");
    assert!(ask("honelm completions ").expect("bash").contains("elvish"));
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let whole = stdout(&run(&["man"]));
    assert!(whole.contains(".TH honelm 1") && whole.contains("honelm\\-pull(1)"), "{whole}");
    let dir = tempfile::tempdir().expect("a folder");
    let pages = dir.path().join("man1");
    let output = run(&["man", "--dir", pages.to_str().expect("UTF-8")]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    for command in COMMANDS {
        let path = pages.join(format!("honelm-{command}.1"));
        let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(page.contains(&format!(".TH honelm-{command} 1")), "{page}");
        assert!(page.contains(&format!(".SH EXAMPLES\n.nf\n  honelm {command}")), "{page}");
    }
    assert!(!pages.join("honelm-measure.1").exists(), "what is hidden has no page");
    assert_eq!(std::fs::read_to_string(pages.join("honelm.1")).expect("the first"), whole);
    let dir_name = pages.to_str().expect("UTF-8");
    assert_fails(&run(&["man", "--dir", dir_name]), 1, &["honelm.1", "--force"]);
    assert_eq!(status(&run(&["man", "--dir", dir_name, "--force"])), 0);
    std::fs::write(pages.join("honelm-run.1"), ".TH other 1").expect("written");
    assert_fails(&run(&["man", "--dir", dir_name, "--force"]), 1, &["honelm-run.1", "another file"]);
    assert_fails(&run(&["man", "--dir", "-"]), 1, &["stdout"]);
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("written");
    assert_fails(&run(&["man", "--dir", file.to_str().expect("UTF-8")]), 1, &["file"]);
}
