//! Saved conversations.

use std::io::Write;
use std::path::Path;

use honelm::{FormatError, Message, OutputGate, write_atomic};
use serde::{Deserialize, Serialize};

use crate::input::MOST_JSON;

#[derive(Serialize, Deserialize)]
struct Saved {
    messages: Vec<Message>,
}

/// Writes a conversation atomically. With `replace`, replaces another conversation; never replaces any other file.
pub fn save(messages: &[Message], path: &Path, replace: bool) -> Result<(), String> {
    let is_saved = |path: &Path| load(path).is_ok();
    OutputGate::new(replace).file(path, "a saved conversation", &is_saved).map_err(|e| e.to_string())?;
    let saved = Saved { messages: messages.to_vec() };
    let text = serde_json::to_string_pretty(&saved).map_err(|e| e.to_string())?;
    let failed = |error| FormatError::io("write", path.display(), error);
    write_atomic(path, |file| file.write_all(text.as_bytes()).map_err(failed)).map_err(|e| e.to_string())
}

/// Reads a saved conversation.
pub fn load(path: &Path) -> Result<Vec<Message>, String> {
    let text = honelm::read_file(path, MOST_JSON).map_err(|e| e.to_string())?;
    let saved: Saved =
        serde_json::from_slice(&text).map_err(|e| format!("{}: not a saved conversation: {e}", path.display()))?;
    Ok(saved.messages)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn saved_conversations_load_and_other_files_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let talk = [Message::new("user", "Hello"), Message::new("assistant", "Hi.")];
        let path = dir.path().join("talk.json");
        save(&talk, &path, false).expect("saved");
        assert!(save(&talk, &path, false).expect_err("it is there").contains("--force"));
        save(&talk, &path, true).expect("saved again");
        assert_eq!(load(&path).expect("loaded"), talk);
        let foreign = dir.path().join("model.gguf");
        fs::write(&foreign, "GGUF").expect("written");
        assert!(save(&talk, &foreign, true).is_err());
        assert_eq!(fs::read(&foreign).expect("still there"), b"GGUF");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2);
    }
}
