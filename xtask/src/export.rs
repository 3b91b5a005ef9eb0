//! `cargo xtask web --out DIR`: the built page with models, as a folder for any file host.
//!
//! `_headers`, which is part of the page, has the headers that a host must send, in the form that several hosts read.

use std::fs;
use std::path::Path;

use serde_json::json;

/// Copies the page and the models to a folder, which must be empty or new. A model is a GGUF file or a folder with `config.json`.
pub fn export(page: &Path, models: &[impl AsRef<Path>], out: &Path) -> Result<(), String> {
    let at = |path: &Path| format!("{}: ", path.display());
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(at(out) + "not empty; choose a new folder");
    }
    copy(page, out)?;
    let mut list = Vec::new();
    for model in models {
        let model = model.as_ref();
        let name =
            model.file_name().and_then(|name| name.to_str()).ok_or_else(|| at(model) + "expected a UTF-8 name")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !name.chars().all(plain) || name.starts_with('.') {
            return Err(at(model) + "expected a name of ASCII letters, digits, '-', '_' and '.'");
        }
        let folder = model.is_dir();
        if folder && !model.join("config.json").is_file() {
            return Err(at(model) + "found no config.json, expected a model folder or a GGUF file");
        }
        copy(model, &out.join("models").join(name))?;
        let title = if folder { name } else { name.strip_suffix(".gguf").unwrap_or(name) };
        list.push(json!({"name": title, "url": format!("models/{name}{}", if folder { "/" } else { "" })}));
    }
    let file = out.join("models.json");
    fs::write(&file, json!({"models": list}).to_string()).map_err(|e| at(&file) + &e.to_string())
}

/// Copies a file or a folder; links are followed.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
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

    #[test]
    fn a_page_and_its_models_become_one_folder() {
        let root = std::env::temp_dir().join(format!("honelm-export-{}", std::process::id()));
        let (page, out) = (root.join("dist"), root.join("out"));
        let write = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, "x").expect("written");
        };
        ["dist/index.html", "dist/assets/a.wasm", "tiny/config.json", "tiny.gguf", "empty/x"]
            .into_iter()
            .for_each(write);
        let models = [root.join("tiny"), root.join("tiny.gguf")];
        export(&page, &models, &out).expect("an export");
        for file in ["index.html", "assets/a.wasm", "models/tiny/config.json", "models/tiny.gguf"] {
            assert!(out.join(file).is_file(), "{file}");
        }
        let list = fs::read_to_string(out.join("models.json")).expect("a list");
        let expected = json!({"models": [
            {"name": "tiny", "url": "models/tiny/"},
            {"name": "tiny", "url": "models/tiny.gguf"},
        ]});
        assert_eq!(list, expected.to_string());
        assert!(export(&page, &models, &out).expect_err("not empty").contains("not empty"));
        let other = root.join("other");
        assert!(export(&page, &[root.join("empty")], &other).expect_err("no model").contains("config.json"));
        fs::remove_dir_all(root).expect("removed");
    }
}
