//! `cargo xtask web --out DIR`: the built page with models, as a folder for any file host.
//!
//! `_headers`, which is part of the page, has the headers that a host must send, in the form that several hosts read.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The bytes of a MiB.
const MIB: u64 = 1 << 20;
/// The bytes per chunk that the page's store accepts, in MiB.
const CHUNKS: std::ops::RangeInclusive<u64> = 1..=64;

/// Reads the size of the chunks that models are split into: `64MiB`.
///
/// # Errors
/// Anything but a whole number of MiB from 1 to 64.
pub fn chunk_bytes(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("MiB").and_then(|number| number.trim().parse().ok());
    let chosen = number.filter(|number| CHUNKS.contains(number));
    chosen.map(|number| number * MIB).ok_or_else(|| format!("found {text:?}, expected 1MiB to 64MiB"))
}

/// Copies the page and the models to a folder, which must be empty or new. A model is a GGUF file or a folder with `config.json`. With
/// `split`, files of more bytes are written as chunks of that size, and each model gets a manifest with the hashes of its files.
pub fn export(page: &Path, models: &[PathBuf], split: Option<u64>, out: &Path) -> Result<(), String> {
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(at(out, "not empty; choose a new folder"));
    }
    let names = models.iter().map(|model| name_of(model)).collect::<Result<Vec<_>, _>>()?;
    if let Some(twice) = (1..names.len()).find(|&i| names[..i].contains(&names[i])) {
        return Err(at(&models[twice], "found a second model of this name, expected different names"));
    }
    // A folder that is there is complete. Without its last slash, the path of the unfinished one is beside it.
    let out: &Path = &std::path::absolute(out).map_err(|e| at(out, &e.to_string()))?.components().collect::<PathBuf>();
    let mut part = out.as_os_str().to_owned();
    part.push(".honelm-part");
    let part = Path::new(&part);
    if part.exists() {
        fs::remove_dir_all(part).map_err(|e| at(part, &e.to_string()))?;
    }
    let written = copy(page, part).and_then(|()| copy_models(models, &names, split, part));
    let written = written.and_then(|()| fs::rename(part, out).map_err(|e| at(out, &e.to_string())));
    if written.is_err() {
        // The error is the one of the export.
        let _ = fs::remove_dir_all(part);
    }
    written
}

/// Copies the models to their folder, and writes the list of them.
fn copy_models(models: &[PathBuf], names: &[String], split: Option<u64>, out: &Path) -> Result<(), String> {
    let mut list = Vec::new();
    for (model, name) in models.iter().zip(names) {
        let folder = model.is_dir();
        let to = out.join("models").join(name);
        let url = format!("models/{name}{}", if folder { "/" } else { "" });
        let title = if folder { name } else { name.strip_suffix(".gguf").unwrap_or(name) };
        let mut entry = json!({"name": title, "url": url});
        match split {
            None => copy(model, &to)?,
            Some(chunk_bytes) => {
                let files = files_of(model)?;
                let manifest = files
                    .iter()
                    .map(|path| split_file(model, path, &to, chunk_bytes))
                    .collect::<Result<Vec<_>, _>>()?;
                entry["bytes"] = manifest.iter().filter_map(|file| file["bytes"].as_u64()).sum::<u64>().into();
                let place = if folder { format!("{url}honelm.json") } else { format!("{url}.json") };
                write(&out.join(&place), json!({"files": manifest}).to_string().as_bytes())?;
                entry["manifest"] = place.into();
            }
        }
        list.push(entry);
    }
    write(&out.join("models.json"), json!({"models": list}).to_string().as_bytes())
}

/// Returns the name that a model has in the export.
fn name_of(model: &Path) -> Result<String, String> {
    let name = model.file_name().and_then(|name| name.to_str()).ok_or_else(|| at(model, "expected a UTF-8 name"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.chars().all(plain) || name.starts_with('.') {
        return Err(at(model, "expected a name of ASCII letters, digits, '-', '_' and '.'"));
    }
    let kind = fs::metadata(model).map_err(|e| at(model, &e.to_string()))?;
    if kind.is_dir() && !model.join("config.json").is_file() {
        return Err(at(model, "found no config.json, expected a model folder or a GGUF file"));
    }
    Ok(name.to_owned())
}

/// Returns the files of a model, relative to its folder; of a single file, an empty path.
fn files_of(model: &Path) -> Result<Vec<PathBuf>, String> {
    if !model.is_dir() {
        return Ok(vec![PathBuf::new()]);
    }
    let entries = fs::read_dir(model).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = entries.map_err(|e| at(model, &e.to_string()))?;
    let mut files: Vec<PathBuf> =
        entries.iter().filter(|entry| entry.path().is_file()).map(|entry| PathBuf::from(entry.file_name())).collect();
    files.sort();
    Ok(files)
}

/// Writes a file of a model, in chunks if it is longer than one, and returns its entry of the manifest.
fn split_file(model: &Path, path: &Path, to: &Path, chunk_bytes: u64) -> Result<Value, String> {
    let whole = path.as_os_str().is_empty();
    let (from, to) = if whole { (model.to_owned(), to.to_owned()) } else { (model.join(path), to.join(path)) };
    let name = if whole { model.file_name() } else { Some(path.as_os_str()) };
    let name = name.and_then(|name| name.to_str()).ok_or_else(|| at(&from, "expected a UTF-8 name"))?;
    let failed = |e: std::io::Error| at(&from, &e.to_string());
    let file = File::open(&from).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let is_split = bytes > chunk_bytes;
    let (mut hash, mut chunks, mut read) = (Sha256::new(), Vec::new(), 0);
    loop {
        let mut chunk = Vec::new();
        (&file).take(chunk_bytes).read_to_end(&mut chunk).map_err(failed)?;
        if chunk.is_empty() && read > 0 {
            break;
        }
        read += chunk.len() as u64;
        hash.update(&chunk);
        chunks.push(hex(&Sha256::digest(&chunk)));
        let part = if is_split { part_of(&to, chunks.len() - 1) } else { to.clone() };
        write(&part, &chunk)?;
        if read == 0 {
            break;
        }
    }
    if read != bytes {
        return Err(at(&from, &format!("found {read} bytes, expected {bytes}: the file changed while it was read")));
    }
    let mut entry = json!({"path": name, "bytes": bytes, "sha256": hex(&hash.finalize())});
    if is_split {
        entry["chunk_bytes"] = chunk_bytes.into();
        entry["chunks"] = chunks.into();
        entry["parts"] = true.into();
    }
    Ok(entry)
}

/// Returns the path of a chunk of a file.
fn part_of(file: &Path, chunk: usize) -> PathBuf {
    let mut folder = file.as_os_str().to_owned();
    folder.push(".parts");
    Path::new(&folder).join(format!("{chunk:05}"))
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn at(path: &Path, problem: &str) -> String {
    format!("{}: {problem}", path.display())
}

/// Writes a file and the folders above it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(folder).and_then(|()| File::create(path)?.write_all(bytes));
    written.map_err(|e| at(path, &e.to_string()))
}

/// Copies a file or a folder; links are followed.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| at(path, &error.to_string());
    if !fs::metadata(from).map_err(|e| failed(from, e))?.is_dir() {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
        }
        return fs::copy(from, to).map(drop).map_err(|e| failed(to, e));
    }
    fs::create_dir_all(to).map_err(|e| failed(to, e))?;
    for entry in fs::read_dir(from).map_err(|e| failed(from, e))? {
        let entry = entry.map_err(|e| failed(from, e))?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is removed at the end.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let root = Self(std::env::temp_dir().join(format!("honelm-export-{name}-{}", std::process::id())));
            for path in
                ["dist/index.html", "dist/assets/a.wasm", "tiny/config.json", "tiny.gguf", "empty/x", "b/tiny.gguf"]
            {
                write(&root.0.join(path), b"x").expect("written");
            }
            root
        }

        fn export(&self, models: &[&str], split: Option<u64>) -> Result<Value, String> {
            let models: Vec<PathBuf> = models.iter().map(|model| self.0.join(model)).collect();
            export(&self.0.join("dist"), &models, split, &self.0.join("out"))?;
            Ok(self.json("models.json"))
        }

        fn json(&self, path: &str) -> Value {
            let text = fs::read_to_string(self.0.join("out").join(path)).expect("a document");
            serde_json::from_str(&text).expect("JSON")
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            // A folder that stays is in the way of nothing.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_page_and_its_models_become_one_folder() {
        let root = Root::new("whole");
        let list = root.export(&["tiny", "tiny.gguf"], None).expect("an export");
        for file in ["index.html", "assets/a.wasm", "models/tiny/config.json", "models/tiny.gguf"] {
            assert!(root.0.join("out").join(file).is_file(), "{file}");
        }
        let expected = json!({"models": [
            {"name": "tiny", "url": "models/tiny/"},
            {"name": "tiny", "url": "models/tiny.gguf"},
        ]});
        assert_eq!(list, expected);
        assert!(root.export(&["tiny"], None).expect_err("not empty").contains("not empty"));
    }

    #[test]
    fn what_cannot_be_exported_is_named_before_anything_is_written() {
        let root = Root::new("bad");
        for (models, said) in [
            (&["empty"][..], "empty: found no config.json"),
            (&["tiny.gguf", "b/tiny.gguf"], "b/tiny.gguf: found a second model of this name"),
            (&["none.gguf"], "none.gguf: "),
        ] {
            let error = root.export(models, None).expect_err(said);
            assert!(error.contains(said), "{error}");
            assert!(!root.0.join("out").exists(), "{said}");
        }
    }

    #[test]
    fn large_files_are_split_and_the_manifest_has_the_hash_of_each_chunk() {
        let root = Root::new("split");
        let bytes: Vec<u8> = (0..2 * MIB + 5).map(|i| (i % 251) as u8).collect();
        write(&root.0.join("tiny/model.safetensors"), &bytes).expect("written");
        write(&root.0.join("tiny.gguf"), &bytes).expect("written");
        let list = root.export(&["tiny", "tiny.gguf"], Some(MIB)).expect("an export");
        assert_eq!(list["models"][0]["manifest"], "models/tiny/honelm.json");
        assert_eq!(list["models"][0]["bytes"], 2 * MIB + 6);
        assert_eq!(list["models"][1]["manifest"], "models/tiny.gguf.json");
        let files = root.json("models/tiny/honelm.json")["files"].clone();
        assert_eq!(files[0], json!({"path": "config.json", "bytes": 1, "sha256": hex(&Sha256::digest(b"x"))}));
        let (weights, single) = (&files[1], root.json("models/tiny.gguf.json")["files"][0].clone());
        assert_eq!((&weights["sha256"], &weights["chunks"]), (&single["sha256"], &single["chunks"]));
        assert_eq!(weights["sha256"], hex(&Sha256::digest(&bytes)));
        let mut joined = Vec::new();
        for (i, hash) in weights["chunks"].as_array().expect("hashes").iter().enumerate() {
            let chunk =
                fs::read(root.0.join(format!("out/models/tiny/model.safetensors.parts/{i:05}"))).expect("a chunk");
            assert_eq!(*hash, hex(&Sha256::digest(&chunk)));
            joined.extend(chunk);
        }
        assert!(joined == bytes && !root.0.join("out/models/tiny/model.safetensors").exists());
    }

    #[test]
    fn sizes_of_chunks_are_whole_mebibytes() {
        assert_eq!(chunk_bytes("64MiB"), Ok(64 * MIB));
        for bad in ["64", "0MiB", "65MiB", "64MB", "-1MiB", "MiB"] {
            assert!(chunk_bytes(bad).expect_err(bad).contains("expected 1MiB to 64MiB"), "{bad}");
        }
    }
}
