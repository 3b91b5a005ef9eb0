use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::address::{self, Address};
use crate::StoreError;

/// The revision of a name that has none.
pub const DEFAULT_REVISION: &str = "main";

/// A model of the Hub as users name it: `ORG/REPO`, `ORG/REPO@REVISION`, `ORG/REPO:QUANT`, `ORG/REPO@REVISION:QUANT`.
///
/// It can also be parsed from the address of the model's page, of a revision (`…/tree/REVISION`) or of a GGUF file
/// (`…/blob/REVISION/FILE`), with or without `https://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    org: String,
    repo: String,
    revision: Option<String>,
    choice: Option<String>,
}

impl ModelSpec {
    /// Returns the organisation or user.
    #[must_use]
    pub fn org(&self) -> &str {
        &self.org
    }

    /// Returns the repository's name without the organisation.
    #[must_use]
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// Returns `ORG/REPO`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.org, self.repo)
    }

    /// Returns the branch, tag or commit; by default `main`.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    /// Returns the chosen one of several GGUF models: its quant (`Q4_K_M`) or its file name.
    #[must_use]
    pub fn choice(&self) -> Option<&str> {
        self.choice.as_deref()
    }

    /// Reads a name that is not an address.
    fn from_name(text: &str) -> Result<Self, Cow<'static, str>> {
        // A Git revision cannot contain ':', so the first one begins the choice.
        let (rest, choice) = match text.split_once(':') {
            Some((rest, choice)) => (rest, Some(choice)),
            None => (text, None),
        };
        let (id, revision) = match rest.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (rest, None),
        };
        let (org, repo) = id.split_once('/').ok_or("it has no '/'")?;
        for part in [org, repo] {
            check_name(part)?;
        }
        if let Some(revision) = revision {
            check_revision(revision)?;
        }
        if let Some(choice) = choice {
            check_choice(choice)?;
        }
        Ok(Self {
            org: org.to_owned(),
            repo: repo.to_owned(),
            revision: revision.map(str::to_owned),
            choice: choice.map(str::to_owned),
        })
    }

    fn from_address(text: &str) -> Result<Self, Cow<'static, str>> {
        let Address { model, revision, file } = address::parse(text)?;
        let mut spec = Self::from_name(&model)?;
        if let Some(revision) = &revision {
            check_revision(revision)?;
        }
        if let Some(file) = &file {
            check_choice(file)?;
        }
        spec.revision = revision.or(spec.revision);
        spec.choice = file.or(spec.choice);
        Ok(spec)
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
        let spec = if address::is_address(text) { Self::from_address(text) } else { Self::from_name(text) };
        spec.map_err(|problem| StoreError::InvalidRepository { text: super::url::without_secrets(text), problem })
    }
}

/// Applies the Hub's rule for the names of organisations and repositories.
fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match name {
        "" => Err("a part of its name is empty"),
        _ if name.len() > 96 => Err("a part of its name is longer than 96 characters"),
        _ if name.contains('/') => Err("it has more than one '/'"),
        _ if !name.chars().all(plain) => Err("its name has characters other than letters, digits, '-', '_' and '.'"),
        _ if name.contains("--") || name.contains("..") => Err("its name contains '--' or '..'"),
        _ if name.starts_with(['-', '.']) || name.ends_with(['-', '.']) => {
            Err("a part of its name begins or ends with '-' or '.'")
        }
        _ => Ok(()),
    }
}

/// Checks a revision, which becomes a path below `refs` and a part of an address.
fn check_revision(revision: &str) -> Result<(), &'static str> {
    const REFUSED: &str = "its revision is not a branch, tag or commit";
    super::listing::check_path(revision).map_err(|_| REFUSED)?;
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '?' | '*' | '[' | '^' | '~');
    if revision.chars().all(plain) { Ok(()) } else { Err(REFUSED) }
}

fn check_choice(choice: &str) -> Result<(), String> {
    super::listing::check_path(choice).map_err(|problem| format!("it names a file {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed() {
        let spec = |text: &str| text.parse::<ModelSpec>().expect(text);
        let plain = spec("org/tiny-llama_1.5");
        assert_eq!((plain.id().as_str(), plain.revision(), plain.choice()), ("org/tiny-llama_1.5", "main", None));
        let whole = spec("org/repo@refs/pr/3:Q4_K_M");
        assert_eq!((whole.revision(), whole.choice()), ("refs/pr/3", Some("Q4_K_M")));
        assert_eq!(spec("org/repo:sub/model.Q8_0.gguf").choice(), Some("sub/model.Q8_0.gguf"));
        assert_eq!(whole.to_string(), "org/repo@refs/pr/3:Q4_K_M");
    }

    #[test]
    fn addresses_mean_the_names_that_they_contain() {
        for (address, name) in [
            ("https://huggingface.co/org/repo", "org/repo"),
            ("hf.co/org/repo:Q4_K_M", "org/repo:Q4_K_M"),
            ("hf.co/org/repo@v1:Q4_K_M", "org/repo@v1:Q4_K_M"),
            ("https://huggingface.co/org/repo/tree/v1.0", "org/repo@v1.0"),
            ("https://huggingface.co/org/repo/blob/main/m-Q8_0.gguf", "org/repo@main:m-Q8_0.gguf"),
        ] {
            assert_eq!(address.parse::<ModelSpec>().expect(address).to_string(), name);
        }
        let error = "https://example.com/org/repo?token=hf_x".parse::<ModelSpec>().expect_err("a foreign host");
        assert!(error.to_string().contains("example.com is not") && !error.to_string().contains("hf_x"), "{error}");
        for bad in
            ["https://huggingface.co/org/repo/tree/..%2Fx", "https://hf.co/-a/b", "hf.co/a/b/blob/main/..%2Fx.gguf"]
        {
            assert_eq!(bad.parse::<ModelSpec>().expect_err(bad).code(), "invalid-repository");
        }
    }

    #[test]
    fn invalid_names_are_refused() {
        let bad =
            ["", "gpt2", "/x", "x/", "a/b/c", "../x", "x/..", "-a/b", "a/b--c", "a b/c", "a\\b/c", "a/b:", "a/b@"];
        let worse = ["a/b@../../x", "a/b@/x", "a/b@x y", "a/b:../x", "a/b@x\\y", "a/b:/x", "ä/b"];
        for text in bad.iter().chain(&worse) {
            let error = text.parse::<ModelSpec>().expect_err(text);
            assert_eq!(error.code(), "invalid-repository", "{text}");
        }
    }
}
