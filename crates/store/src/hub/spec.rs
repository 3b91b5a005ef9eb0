use std::fmt;
use std::str::FromStr;

use crate::StoreError;

/// The revision that is meant where none is named.
pub const DEFAULT_REVISION: &str = "main";

/// A model as users name it: `ORG/REPO`, `ORG/REPO@REVISION`, `ORG/REPO:QUANT`, `ORG/REPO@REVISION:QUANT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    org: String,
    repo: String,
    revision: Option<String>,
    choice: Option<String>,
}

impl ModelSpec {
    /// The organisation or user.
    #[must_use]
    pub fn org(&self) -> &str {
        &self.org
    }

    /// The repository's own name.
    #[must_use]
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// `ORG/REPO`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.org, self.repo)
    }

    /// A branch, tag or commit; by default `main`.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    /// One of several GGUF models in the repository: its quant (`Q4_K_M`) or its file name.
    #[must_use]
    pub fn choice(&self) -> Option<&str> {
        self.choice.as_deref()
    }
}

impl fmt::Display for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(choice) = &self.choice {
            write!(f, ":{choice}")?;
        }
        Ok(())
    }
}

impl FromStr for ModelSpec {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let bad = |problem| StoreError::InvalidRepository { text: text.to_owned(), problem };
        // A Git revision cannot hold ':', so the first one begins the choice.
        let (rest, choice) = match text.split_once(':') {
            Some((rest, choice)) => (rest, Some(choice)),
            None => (text, None),
        };
        let (id, revision) = match rest.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (rest, None),
        };
        let (org, repo) = id.split_once('/').ok_or_else(|| bad("no '/'"))?;
        for part in [org, repo] {
            check_name(part).map_err(bad)?;
        }
        if let Some(revision) = revision {
            check_revision(revision).map_err(bad)?;
        }
        if let Some(choice) = choice {
            super::listing::check_path(choice).map_err(bad)?;
        }
        Ok(Self {
            org: org.to_owned(),
            repo: repo.to_owned(),
            revision: revision.map(str::to_owned),
            choice: choice.map(str::to_owned),
        })
    }
}

/// The Hub's rule for the names of organisations and repositories.
fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match name {
        "" => Err("a part is empty"),
        _ if name.len() > 96 => Err("a part is longer than 96 characters"),
        _ if name.contains('/') => Err("more than one '/'"),
        _ if !name.chars().all(plain) => Err("letters, digits, '-', '_' and '.' only"),
        _ if name.contains("--") || name.contains("..") => Err("'--' and '..' are not allowed"),
        _ if name.starts_with(['-', '.']) || name.ends_with(['-', '.']) => Err("a part begins or ends with '-' or '.'"),
        _ => Ok(()),
    }
}

/// A revision becomes a path below `refs` and a part of an address.
fn check_revision(revision: &str) -> Result<(), &'static str> {
    const REFUSED: &str = "not a revision: a branch, tag or commit";
    super::listing::check_path(revision).map_err(|_| REFUSED)?;
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '?' | '*' | '[' | '^' | '~');
    if revision.chars().all(plain) { Ok(()) } else { Err(REFUSED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_users_type() {
        let spec = |text: &str| text.parse::<ModelSpec>().expect(text);
        let plain = spec("org/tiny-llama_1.5");
        assert_eq!((plain.id().as_str(), plain.revision(), plain.choice()), ("org/tiny-llama_1.5", "main", None));
        let whole = spec("org/repo@refs/pr/3:Q4_K_M");
        assert_eq!((whole.revision(), whole.choice()), ("refs/pr/3", Some("Q4_K_M")));
        assert_eq!(spec("org/repo:sub/model.Q8_0.gguf").choice(), Some("sub/model.Q8_0.gguf"));
        assert_eq!(whole.to_string(), "org/repo@refs/pr/3:Q4_K_M");
    }

    #[test]
    fn refuses_what_names_no_repository() {
        let bad =
            ["", "gpt2", "/x", "x/", "a/b/c", "../x", "x/..", "-a/b", "a/b--c", "a b/c", "a\\b/c", "a/b:", "a/b@"];
        let worse = ["a/b@../../x", "a/b@/x", "a/b@x y", "a/b:../x", "a/b@x\\y", "a/b:/x", "ä/b"];
        for text in bad.iter().chain(&worse) {
            let error = text.parse::<ModelSpec>().expect_err(text);
            assert_eq!(error.code(), "invalid-repository", "{text}");
        }
    }
}
