//! Output on terminals of several widths.

#[cfg(target_os = "linux")]
use std::io::{Read, Write};

use crate::common::{on_a_terminal, run, stdout};

const WIDTHS: [usize; 4] = [60, 80, 100, 200];

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().filter(|word| !word.starts_with('─')).collect()
}

#[test]
fn answers_break_between_words() {
    let arguments = ["run", "-p", "Tell me a story.", "-n", "120", "--temperature", "0", "-q"];
    let whole = stdout(&run(&arguments));
    for width in WIDTHS {
        let Some(shown) = on_a_terminal(width, &arguments) else {
            honelm_testing::skip!("answers_break_between_words", "script")
        };
        assert!(shown.lines().all(|line| line.chars().count() <= width), "{width}: {shown}");
        assert_eq!(words(&shown), words(&whole));
        assert!(shown.lines().count() >= whole.chars().count() / width, "{width}: {shown}");
    }
}

#[test]
fn tables_and_facts_break_no_word() {
    let arguments = ["inspect", "pocket", "-q"];
    let whole = stdout(&run(&arguments));
    for width in WIDTHS {
        let Some(shown) = on_a_terminal(width, &arguments) else {
            honelm_testing::skip!("tables_and_facts_break_no_word", "script")
        };
        let shown_words = words(&shown);
        for word in words(&whole) {
            assert!(shown_words.contains(&word), "{word} is broken at {width}: {shown}");
        }
        let table = |line: &&str| line.contains('─');
        assert!(shown.lines().filter(table).all(|line| line.chars().count() <= width), "{width}: {shown}");
    }
}

#[test]
fn help_fits_narrow_terminals() {
    for width in WIDTHS {
        for command in ["optimize", "chat", "run", "eval", "inspect"] {
            let Some(shown) = on_a_terminal(width, &[command, "--help"]) else {
                honelm_testing::skip!("help_fits_narrow_terminals", "script")
            };
            // An example is one command, which is not broken.
            let too_wide = |line: &&str| line.chars().count() > width && !line.contains("honelm ");
            assert_eq!(shown.lines().find(too_wide), None, "{width}: {shown}");
        }
    }
}

/// A conversation on a terminal, typed key by key.
#[cfg(target_os = "linux")]
struct Typed {
    child: std::process::Child,
    seen: String,
}

#[cfg(target_os = "linux")]
impl Typed {
    /// Starts `honelm chat` on a terminal of 60 columns; `None` without `script`.
    fn start() -> Option<Self> {
        use std::process::{Command, Stdio};

        let line = format!("stty rows 40 cols 60; '{}' chat -n 8 --temperature 0", env!("CARGO_BIN_EXE_honelm"));
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env("HONELM_DEVICE", "cpu").env("HONELM_HISTORY", "");
        let child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        Some(Self { child, seen: String::new() })
    }

    /// Reads until `text` is shown; returns what was shown since the last call, up to the text.
    fn wait_for(&mut self, text: &str) -> String {
        let output = self.child.stdout.as_mut().expect("a pipe");
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let count = output.read(&mut bytes).expect("output");
            assert!(count > 0, "{text:?} was not shown: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    fn write(&mut self, keys: &str) {
        self.child.stdin.as_mut().expect("a pipe").write_all(keys.as_bytes()).expect("typed");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_conversation_is_typed() {
    let Some(mut chat) = Typed::start() else { honelm_testing::skip!("a_conversation_is_typed", "script") };
    chat.wait_for("> ");
    chat.write("exit\r");
    assert!(chat.wait_for("between").contains("the command is /quit"));
    chat.wait_for("> ");
    // Tab completes the command; what is typed ahead is not lost.
    chat.write("/he\t\r/sta\t\r");
    assert!(chat.wait_for("of 1024 tokens").contains("/retry"));
    chat.wait_for("> ");
    chat.write(&format!("\x1b[200~{}\x1b[201~\r", "word\n".repeat(3000)));
    chat.wait_for("the message has ");
    chat.wait_for("> ");
    chat.write("\"\"\"\rTell me\ra story.\"\"\"\r");
    chat.wait_for("(8 tokens");
    chat.wait_for("> ");
    chat.write("/retry\r");
    assert!(chat.wait_for("(8 tokens").contains("temperature 0"));
    chat.wait_for("> ");
    chat.write("/quit\r");
    assert!(chat.child.wait().expect("it ends").success());
}
