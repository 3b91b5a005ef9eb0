use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use honelm_formats::read_file;

use super::url::{Url, without_secrets};
use crate::StoreError;

/// The settings of the Hub's tools, which they all take from the same environment variables.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The address of the Hub or of a mirror: `HF_ENDPOINT`.
    pub endpoint: Url,
    /// The folder of the cache: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, or `hub` in `HF_HOME`.
    pub cache: PathBuf,
    /// The token of the user: `HF_TOKEN`, or the contents of [`HubSettings::token_file`].
    pub token: Option<Token>,
    /// The file that `hf auth login` writes the token to: `HF_TOKEN_PATH`, or `token` in `HF_HOME`.
    pub token_file: PathBuf,
    /// `true` if nothing may be fetched: `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// `false` if the cache has real files in the place of symbolic links: `HF_HUB_DISABLE_SYMLINKS`.
    pub symlinks: bool,
}

/// A secret, which is sent to the endpoint and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    secret: String,
    /// The variable or file that it came from.
    source: String,
}

impl Token {
    /// Takes a token, without the white space around it; `None` if nothing is left. `source` names the variable or file
    /// that it came from.
    ///
    /// # Errors
    /// [`StoreError::InvalidSetting`] if it cannot be a token.
    pub fn new(text: &str, source: &str) -> Result<Option<Self>, StoreError> {
        let text = text.trim();
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            let found = "(not shown)".to_owned();
            return Err(StoreError::InvalidSetting {
                name: "HF_TOKEN",
                found,
                expected: "one word of ASCII characters",
            });
        }
        Ok((!text.is_empty()).then(|| Self { secret: text.to_owned(), source: source.to_owned() }))
    }

    /// Returns the value of the `Authorization` header.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.secret)
    }

    /// Returns the variable or file that the token came from.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(not shown)")
    }
}

/// The largest size of a token's file, in bytes.
const MOST_TOKEN: u64 = 64 << 10;

type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl HubSettings {
    /// Reads the settings from the environment of this process.
    ///
    /// # Errors
    /// [`StoreError::InvalidSetting`].
    pub fn from_env() -> Result<Self, StoreError> {
        Self::from_lookup(&|name| std::env::var_os(name))
    }

    /// Reads the settings from the variables that `lookup` returns.
    ///
    /// # Errors
    /// [`StoreError::InvalidSetting`].
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, StoreError> {
        let endpoint = text(lookup, "HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let expected = "an address such as https://huggingface.co";
        let refused =
            || StoreError::InvalidSetting { name: "HF_ENDPOINT", found: without_secrets(&endpoint), expected };
        let parsed = Url::parse(&endpoint).ok().filter(|url| !url.has_query()).ok_or_else(refused)?;
        Ok(Self {
            endpoint: parsed,
            cache: cache_of(lookup),
            token: token(lookup)?,
            token_file: token_file(lookup),
            offline: is_on(lookup, "HF_HUB_OFFLINE") || is_on(lookup, "TRANSFORMERS_OFFLINE"),
            symlinks: !is_on(lookup, "HF_HUB_DISABLE_SYMLINKS"),
        })
    }
}

/// Returns the folder of the cache, as the environment of this process sets it.
#[must_use]
pub fn cache_dir() -> PathBuf {
    cache_of(&|name| std::env::var_os(name))
}

fn cache_of(lookup: Lookup<'_>) -> PathBuf {
    path(lookup, "HF_HUB_CACHE")
        .or_else(|| path(lookup, "HUGGINGFACE_HUB_CACHE"))
        .unwrap_or_else(|| home_of(lookup).join("hub"))
}

fn home_of(lookup: Lookup<'_>) -> PathBuf {
    path(lookup, "HF_HOME").unwrap_or_else(|| {
        let caches = path(lookup, "XDG_CACHE_HOME").unwrap_or_else(|| user_home(lookup).join(".cache"));
        caches.join("huggingface")
    })
}

fn user_home(lookup: Lookup<'_>) -> PathBuf {
    let name = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    lookup(name).filter(|v| !v.is_empty()).map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Returns a variable as a path, with `~` expanded; `None` if it is unset or empty.
fn path(lookup: Lookup<'_>, name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(lookup(name).filter(|value| !value.is_empty())?);
    match path.strip_prefix("~") {
        Ok(rest) => Some(user_home(lookup).join(rest)),
        Err(_) => Some(path),
    }
}

fn text(lookup: Lookup<'_>, name: &str) -> Option<String> {
    let value = lookup(name)?.to_string_lossy().trim().to_owned();
    (!value.is_empty()).then_some(value)
}

fn is_on(lookup: Lookup<'_>, name: &str) -> bool {
    text(lookup, name).is_some_and(|v| ["1", "ON", "YES", "TRUE"].contains(&v.to_ascii_uppercase().as_str()))
}

fn token(lookup: Lookup<'_>) -> Result<Option<Token>, StoreError> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(token) = text(lookup, name) {
            return Token::new(&token, name);
        }
    }
    if is_on(lookup, "HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return Ok(None);
    }
    read_token(&token_file(lookup))
}

fn token_file(lookup: Lookup<'_>) -> PathBuf {
    path(lookup, "HF_TOKEN_PATH").unwrap_or_else(|| home_of(lookup).join("token"))
}

fn read_token(file: &Path) -> Result<Option<Token>, StoreError> {
    // A file that cannot be read means that the user is not logged in.
    let read = read_file(file, MOST_TOKEN).ok();
    let text = read.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map_or(Ok(None), |text| Token::new(&text, &file.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<HubSettings, StoreError> {
        let find = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        HubSettings::from_lookup(&find)
    }

    #[test]
    fn the_cache_is_found_by_the_variables_of_other_tools() {
        let cache = |pairs: &[(&str, &str)]| of(pairs).expect("settings").cache;
        let home = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
        assert_eq!(cache(&[(home, "/u")]), Path::new("/u/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/c"), (home, "/u")]), Path::new("/c/huggingface/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), Path::new("/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "~/h"), (home, "/u")]), Path::new("/u/h/hub"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/h")]), Path::new("/old"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/new"));
        assert_eq!(cache(&[("HF_HUB_CACHE", ""), ("HF_HOME", "/h")]), Path::new("/h/hub"));
    }

    #[test]
    fn the_endpoint_is_an_address() {
        assert_eq!(of(&[]).expect("settings").endpoint.to_string(), "https://huggingface.co/");
        let mirror = of(&[("HF_ENDPOINT", "http://127.0.0.1:9/hub/")]).expect("settings").endpoint;
        assert_eq!(mirror.below("/api/x", None).to_string(), "http://127.0.0.1:9/hub/api/x");
        for bad in ["huggingface.co", "ftp://x", "https://user@host", "https://host/?a"] {
            assert_eq!(of(&[("HF_ENDPOINT", bad)]).expect_err(bad).code(), "invalid-setting");
        }
    }

    #[test]
    fn the_password_of_the_endpoint_is_never_shown() {
        for endpoint in ["https://user:pa55word@host", "user:pa55word@host", "https://host/?token=pa55word"] {
            let error = of(&[("HF_ENDPOINT", endpoint)]).expect_err("refused");
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(!text.contains("pa55word") && text.contains("***"), "{text}");
            }
        }
    }

    #[test]
    fn the_token_comes_from_the_variable_or_the_file_and_is_never_shown() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("token"), "hf_file\n").expect("written");
        let home = ("HF_HOME", dir.path().to_str().expect("UTF-8"));
        let bearer = |pairs: &[(&str, &str)]| of(pairs).expect("settings").token.map(|t| t.bearer());
        assert_eq!(bearer(&[home]).as_deref(), Some("Bearer hf_file"));
        assert_eq!(bearer(&[home, ("HF_TOKEN", " hf_own ")]).as_deref(), Some("Bearer hf_own"));
        let file = of(&[home]).expect("settings");
        assert_eq!(file.token.expect("a token").source(), file.token_file.display().to_string());
        assert_eq!(bearer(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        let settings = of(&[("HF_TOKEN", "hf_secret")]).expect("settings");
        assert!(!format!("{settings:?}").contains("hf_secret"));
        let error = of(&[("HF_TOKEN", "hf_a\r\nX-Evil: 1")]).expect_err("two lines");
        assert!(!error.to_string().contains("Evil"), "{error}");
    }

    #[test]
    fn switches_are_on_or_off() {
        for (value, on) in [("1", true), ("true", true), ("0", false), ("", false)] {
            assert_eq!(of(&[("HF_HUB_OFFLINE", value)]).expect("settings").offline, on, "{value}");
            assert_eq!(of(&[("HF_HUB_DISABLE_SYMLINKS", value)]).expect("settings").symlinks, !on, "{value}");
        }
    }
}
