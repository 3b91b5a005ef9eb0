//! Conversations in files.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use honelm::Message;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Saved {
    messages: Vec<Message>,
}

/// Writes a conversation, whole or not at all; a file that holds anything else is left alone.
pub fn save(messages: &[Message], path: &Path) -> Result<(), String> {
    if path.exists() && load(path).is_err() {
        return Err("exists and is no saved conversation".to_owned());
    }
    let saved = Saved { messages: messages.to_vec() };
    let text = serde_json::to_string_pretty(&saved).map_err(|e| e.to_string())?;
    let name = path.file_name().ok_or("is no file name")?.to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|e| {
        let _ = fs::remove_file(&temporary);
        e.to_string()
    })
}

/// Reads a saved conversation.
pub fn load(path: &Path) -> Result<Vec<Message>, String> {
    let text = fs::read(path).map_err(|e| e.to_string())?;
    let saved: Saved = serde_json::from_slice(&text).map_err(|e| format!("no saved conversation: {e}"))?;
    Ok(saved.messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_foreign_files_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let talk = [Message::new("user", "Hello"), Message::new("assistant", "Hi.")];
        let path = dir.path().join("talk.json");
        save(&talk, &path).expect("saved");
        save(&talk, &path).expect("saved again");
        assert_eq!(load(&path).expect("loaded"), talk);
        let foreign = dir.path().join("model.gguf");
        fs::write(&foreign, "GGUF").expect("written");
        assert!(save(&talk, &foreign).is_err());
        assert_eq!(fs::read(&foreign).expect("still there"), b"GGUF");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2);
    }
}
