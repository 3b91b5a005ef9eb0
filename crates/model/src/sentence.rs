//! The settings of embeddings in a sentence-transformers folder.

use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::path::{Path, PathBuf};

#[cfg(not(target_arch = "wasm32"))]
use honelm_formats::read_json;
use serde_json::{Value as Json, json};

use crate::fields::shortened;
use crate::{EmbeddingSettings, ModelError, Pooling};

/// The list of the steps of a sentence-transformers folder.
const MODULES: &str = "modules.json";
/// The folder of the pooling in files that are written.
#[cfg(not(target_arch = "wasm32"))]
const POOLING: &str = "1_Pooling";
/// The types of the steps in `modules.json`.
const TYPES: [&str; 3] = ["Transformer", "Pooling", "Normalize"];

/// A function that reads the `config.json` of a folder, and returns it with its name.
type ReadPooling<'a> = &'a mut dyn FnMut(&str) -> Result<(String, Option<Json>), ModelError>;

/// Returns the last part of the `type` of a step, and its folder; the empty one is that of the model.
fn step(file: &str, module: &Json) -> Result<(&'static str, String), ModelError> {
    let invalid = |field: &str, expected: String| ModelError::InvalidField {
        file: file.to_owned(),
        field: field.to_owned(),
        found: shortened(&module[field]),
        expected,
    };
    let kind = module["type"].as_str().and_then(|kind| kind.rsplit('.').next());
    let kind = TYPES.into_iter().find(|known| Some(*known) == kind);
    let kind = kind.ok_or_else(|| invalid("type", format!("one of {}", TYPES.join(", "))))?;
    let is_plain = |path: &&str| !path.starts_with('.') && !path.contains(['/', '\\', ':', '\0']);
    let path = module["path"].as_str().filter(is_plain);
    Ok((kind, path.ok_or_else(|| invalid("path", "the name of a folder beside it".to_owned()))?.to_owned()))
}

/// Returns the settings of a sentence-transformers folder from the contents of `modules.json`; `pooling` reads the
/// `config.json` of a folder, and returns it with its name.
///
/// # Errors
/// Steps or a pooling that are not supported.
fn of_modules(file: &str, modules: &Json, pooling: ReadPooling<'_>) -> Result<Option<EmbeddingSettings>, ModelError> {
    let Some(modules) = modules.as_array() else {
        let (found, expected) = (shortened(modules), "a list of steps".to_owned());
        return Err(ModelError::InvalidField { file: file.to_owned(), field: "the file".to_owned(), found, expected });
    };
    let (mut found, mut normalised) = (None, false);
    for module in modules {
        match step(file, module)? {
            ("Pooling", path) => {
                let (name, config) = pooling(&path)?;
                found = Some(of_config(&name, &config.unwrap_or(Json::Null))?);
            }
            ("Normalize", _) => normalised = true,
            _ => {}
        }
    }
    Ok(found.map(|pooling| EmbeddingSettings { pooling, normalised }))
}

/// Reads the settings of a sentence-transformers folder.
///
/// # Errors
/// As [`of_modules`], and files that cannot be read.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn of_folder(dir: &Path) -> Result<Option<EmbeddingSettings>, ModelError> {
    let file = dir.join(MODULES);
    let Some(modules) = read_json(&file)? else { return Ok(None) };
    of_modules(&file.display().to_string(), &modules, &mut |path| {
        let config = dir.join(path).join("config.json");
        Ok((config.display().to_string(), read_json(&config)?))
    })
}

/// Returns the pooling of the `config.json` of a pooling step.
fn of_config(file: &str, config: &Json) -> Result<Pooling, ModelError> {
    let invalid = |field: &str, found: String| ModelError::InvalidField {
        file: file.to_owned(),
        field: field.to_owned(),
        found,
        expected: "one mode: mean, cls or lasttoken".to_owned(),
    };
    if let Some(mode) = config["pooling_mode"].as_str() {
        let named = if mode == "lasttoken" { Some(Pooling::Last) } else { Pooling::named(mode) };
        return named.ok_or_else(|| invalid("pooling_mode", shortened(&config["pooling_mode"])));
    }
    let modes = config.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("pooling_mode_"));
    let wanted: Vec<&str> = modes.filter(|(_, value)| **value == json!(true)).map(|(name, _)| name.as_str()).collect();
    let pooling = match wanted[..] {
        [one] => Pooling::ALL.into_iter().find(|pooling| field(*pooling) == one),
        _ => None,
    };
    pooling.ok_or_else(|| invalid("pooling_mode_*", shortened(&json!(wanted))))
}

/// Returns the field of a `1_Pooling/config.json` that is true.
fn field(pooling: Pooling) -> &'static str {
    match pooling {
        Pooling::Mean => "pooling_mode_mean_tokens",
        Pooling::Cls => "pooling_mode_cls_token",
        Pooling::Last => "pooling_mode_lasttoken",
    }
}

impl EmbeddingSettings {
    /// The file of a sentence-transformers folder that lists its steps.
    pub const MODULES: &str = MODULES;

    /// Returns the names of the further files that [`EmbeddingSettings::of_contents`] needs.
    ///
    /// # Errors
    /// [`ModelError::InvalidField`] for steps that are not supported.
    pub fn configs(modules: &Json) -> Result<Vec<String>, ModelError> {
        let mut names = Vec::new();
        for module in modules.as_array().into_iter().flatten() {
            if let ("Pooling", path) = step(MODULES, module)? {
                names.push(format!("{path}/config.json"));
            }
        }
        Ok(names)
    }

    /// Reads the settings of a sentence-transformers folder from its files: `modules.json`, and others by name.
    ///
    /// # Errors
    /// [`ModelError::InvalidField`] for steps or a pooling that are not supported.
    pub fn of_contents(modules: &Json, configs: &BTreeMap<String, Option<Json>>) -> Result<Option<Self>, ModelError> {
        of_modules(MODULES, modules, &mut |path| {
            let name = format!("{path}/config.json");
            let found = configs.get(&name).cloned().flatten();
            Ok((name, found))
        })
    }

    /// Returns the files of a sentence-transformers folder that say the same, for states of `width` values.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn files(self, width: usize) -> [(PathBuf, Json); 2] {
        let steps = [("", TYPES[0]), (POOLING, TYPES[1]), ("2_Normalize", TYPES[2])];
        let count = if self.normalised { 3 } else { 2 };
        let steps = steps[..count].iter().enumerate().map(|(idx, (path, kind))| {
            json!({"idx": idx, "name": idx.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")})
        });
        let mut config = json!({"word_embedding_dimension": width});
        for pooling in Pooling::ALL {
            config[field(pooling)] = json!(pooling == self.pooling);
        }
        [(MODULES.into(), steps.collect()), (Path::new(POOLING).join("config.json"), config)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(modules: &Json, config: &Json) -> Result<Option<EmbeddingSettings>, String> {
        let read = &mut |path: &str| Ok((format!("{path}/config.json"), Some(config.clone())));
        of_modules("modules.json", modules, read).map_err(|error| error.to_string())
    }

    #[test]
    fn written_settings_are_read_again() {
        for pooling in Pooling::ALL {
            assert_eq!(Pooling::named(pooling.name()), Some(pooling));
            for normalised in [false, true] {
                let settings = EmbeddingSettings { pooling, normalised };
                let [(_, modules), (path, config)] = settings.files(8);
                assert_eq!(path, Path::new("1_Pooling/config.json"));
                assert_eq!(read(&modules, &config), Ok(Some(settings)));
                let names = EmbeddingSettings::configs(&modules).expect("names");
                assert_eq!(names, ["1_Pooling/config.json"]);
                let configs = BTreeMap::from([(names[0].clone(), Some(config))]);
                let found = EmbeddingSettings::of_contents(&modules, &configs);
                assert_eq!(found.map_err(|error| error.to_string()), Ok(Some(settings)));
            }
        }
    }

    #[test]
    fn steps_that_would_change_embeddings_are_refused_by_name() {
        let module =
            |kind: &str, path: &str| json!([{"type": format!("sentence_transformers.models.{kind}"), "path": path}]);
        let refused = |modules: &Json, config: &Json| read(modules, config).expect_err("refused");
        assert!(refused(&module("Dense", "2_Dense"), &Json::Null).contains("Dense"));
        for path in ["../other", "/etc", ".", "a/b"] {
            assert!(refused(&module("Pooling", path), &Json::Null).contains("path"), "{path}");
        }
        assert!(refused(&json!({}), &Json::Null).contains("a list of steps"));
        let pooling = module("Pooling", "1_Pooling");
        for config in [
            json!({"pooling_mode_max_tokens": true}),
            json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}),
            json!({"pooling_mode": "weightedmean"}),
            Json::Null,
        ] {
            assert!(refused(&pooling, &config).contains("1_Pooling/config.json"), "{config}");
        }
        let other = json!({"pooling_mode": "lasttoken"});
        assert_eq!(read(&pooling, &other).map(|found| found.map(|s| s.pooling)), Ok(Some(Pooling::Last)));
        assert_eq!(read(&module("Transformer", ""), &Json::Null), Ok(None));
    }
}
