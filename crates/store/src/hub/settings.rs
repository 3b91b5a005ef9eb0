use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use honelm_formats::read_file;

use super::url::{Url, without_secrets};
use crate::StoreError;

/// Where models come from and where they are kept, as the environment says it to all tools of the Hub.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The Hub or a mirror of it: `HF_ENDPOINT`.
    pub endpoint: Url,
    /// The cache: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, or `hub` in `HF_HOME`.
    pub cache: PathBuf,
    /// Who asks: `HF_TOKEN`, or the file that logging in wrote (`HF_TOKEN_PATH`, `token` in `HF_HOME`).
    pub token: Option<Token>,
    /// `HF_HUB_OFFLINE`: nothing is fetched.
    pub offline: bool,
}

/// A secret; shown to nobody but the server it is for.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token; surrounding white space is no part of it. Nothing where nothing is left.
    pub fn new(text: &str) -> Result<Option<Self>, StoreError> {
        let text = text.trim();
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            let found = "(not shown)".to_owned();
            return Err(StoreError::InvalidSetting {
                name: "HF_TOKEN",
                found,
                expected: "one word of ASCII characters",
            });
        }
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(not shown)")
    }
}

/// Most bytes of a file with a token.
const MOST_TOKEN: u64 = 64 << 10;

type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl HubSettings {
    /// The settings of the process's environment.
    pub fn from_env() -> Result<Self, StoreError> {
        Self::from_lookup(&|name| std::env::var_os(name))
    }

    /// The settings of the variables that `lookup` knows.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, StoreError> {
        let endpoint = text(lookup, "HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let expected = "an address such as https://huggingface.co";
        let refused =
            || StoreError::InvalidSetting { name: "HF_ENDPOINT", found: without_secrets(&endpoint), expected };
        let parsed = Url::parse(&endpoint).ok().filter(|url| !url.target.contains('?')).ok_or_else(refused)?;
        Ok(Self {
            endpoint: parsed,
            cache: cache_of(lookup),
            token: token(lookup)?,
            offline: is_on(lookup, "HF_HUB_OFFLINE") || is_on(lookup, "TRANSFORMERS_OFFLINE"),
        })
    }
}

/// The cache's folder, by the process's environment.
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

/// A variable that is set to something.
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
            return Token::new(&token);
        }
    }
    if is_on(lookup, "HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return Ok(None);
    }
    let file = path(lookup, "HF_TOKEN_PATH").unwrap_or_else(|| home_of(lookup).join("token"));
    read_token(&file)
}

fn read_token(file: &Path) -> Result<Option<Token>, StoreError> {
    // Who cannot read the file is not logged in.
    let read = read_file(file, MOST_TOKEN).ok();
    read.and_then(|bytes| String::from_utf8(bytes).ok()).map_or(Ok(None), |text| Token::new(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<HubSettings, StoreError> {
        let find = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        HubSettings::from_lookup(&find)
    }

    #[test]
    fn the_cache_is_where_other_tools_look() {
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
        assert_eq!(mirror.at("/api/x").to_string(), "http://127.0.0.1:9/hub/api/x");
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
        assert_eq!(bearer(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        let settings = of(&[("HF_TOKEN", "hf_secret")]).expect("settings");
        assert!(!format!("{settings:?}").contains("hf_secret"));
        let error = of(&[("HF_TOKEN", "hf_a\r\nX-Evil: 1")]).expect_err("two lines");
        assert!(!error.to_string().contains("Evil"), "{error}");
    }

    #[test]
    fn offline_is_a_switch() {
        for (value, on) in [("1", true), ("true", true), ("0", false), ("", false)] {
            assert_eq!(of(&[("HF_HUB_OFFLINE", value)]).expect("settings").offline, on, "{value}");
        }
    }
}
