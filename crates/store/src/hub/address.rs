//! Addresses of the Hub's pages, from which models can be named.

use std::borrow::Cow;

use super::parts::without_ending;
use super::url::Url;

/// The hosts of the Hub.
const HOSTS: [&str; 3] = ["huggingface.co", "hf.co", "www.huggingface.co"];

/// The parts of the name of a model, as an address gives them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// `ORG/REPO`, with `@REVISION` and `:QUANT` where the address ends in them.
    pub model: String,
    /// The revision of a `tree`, `blob` or `resolve` address.
    pub revision: Option<String>,
    /// The GGUF file of a `blob` or `resolve` address.
    pub file: Option<String>,
}

/// Returns `true` if `text` is meant as an address: it has a scheme or begins with a host of the Hub.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.contains("://") || HOSTS.iter().any(|host| starts_with_host(text, host))
}

fn starts_with_host(text: &str, host: &str) -> bool {
    let start = text.get(..host.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(host)) && text[host.len()..].starts_with('/')
}

/// Reads an address for which [`is_address`] is `true`.
///
/// # Errors
/// A clause that says what is wrong.
pub(super) fn parse(text: &str) -> Result<Address, Cow<'static, str>> {
    let whole = if text.contains("://") { Cow::Borrowed(text) } else { Cow::Owned(format!("https://{text}")) };
    let url = Url::parse(&whole).map_err(|problem| format!("an address {problem}"))?;
    if !HOSTS.contains(&url.host()) {
        return Err(format!(
            "{} is not a host of the Hub, {} or {}; for a mirror, set HF_ENDPOINT and give only ORG/REPO",
            url.host(),
            HOSTS[0],
            HOSTS[1]
        )
        .into());
    }
    let mut segments = url.segments();
    segments.retain(|segment| !segment.is_empty());
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let model = |org: &str, repo: &str| format!("{org}/{repo}");
    match segments.as_slice() {
        [kind @ ("datasets" | "spaces" | "collections" | "papers" | "docs"), ..] => {
            Err(format!("an address below /{kind}, where there are no models").into())
        }
        [org, repo] => Ok(Address { model: model(org, repo), revision: None, file: None }),
        [org, repo, "tree", revision] => Ok(Address { model: model(org, repo), revision: owned(revision), file: None }),
        [_, _, "tree", _, folder @ ..] => {
            let folder = folder.join("/");
            Err(format!("an address of a folder; give ORG/REPO and, to pull it, --include '{folder}/'").into())
        }
        [org, repo, "blob" | "resolve", revision, file @ ..] if !file.is_empty() => {
            let file = file.join("/");
            if without_ending(&file, ".gguf").is_none() {
                let problem = "an address of a file that is not a GGUF model; give ORG/REPO and, to pull it, --include";
                return Err(format!("{problem} '{file}'").into());
            }
            Ok(Address { model: model(org, repo), revision: owned(revision), file: Some(file) })
        }
        [] | [_] => Err("an address without ORG/REPO".into()),
        _ => Err("an address of another page than a model, a revision or a file".into()),
    }
}

fn owned(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_models_revisions_and_files_are_read() {
        let plain = |text: &str| parse(text).expect(text);
        for text in [
            "https://huggingface.co/org/repo",
            "https://huggingface.co/org/repo/",
            "https://huggingface.co/org/repo?library=x#usage",
            "http://www.huggingface.co/org/repo",
            "hf.co/org/repo",
            "huggingface.co/org/repo",
            "HF.co/org/repo",
        ] {
            assert!(is_address(text), "{text}");
            assert_eq!(plain(text), Address { model: "org/repo".to_owned(), revision: None, file: None }, "{text}");
        }
        assert_eq!(plain("hf.co/org/repo:Q4_K_M").model, "org/repo:Q4_K_M");
        assert_eq!(plain("https://hf.co/org/repo/tree/refs%2Fpr%2F1").revision.as_deref(), Some("refs/pr/1"));
        for kind in ["blob", "resolve"] {
            let file = plain(&format!("https://huggingface.co/org/repo/{kind}/v1/sub/a%20b.gguf?download=true"));
            assert_eq!((file.revision.as_deref(), file.file.as_deref()), (Some("v1"), Some("sub/a b.gguf")));
        }
    }

    #[test]
    fn other_pages_and_hosts_are_refused_with_the_reason() {
        for (text, word) in [
            ("https://example.com/org/repo", "example.com is not a host of the Hub"),
            ("https://huggingface.co.evil.example/org/repo", "not a host"),
            ("https://huggingface.co@evil.example/org/repo", "user name"),
            ("ftp://huggingface.co/org/repo", "not an http"),
            ("https://huggingface.co/gpt2", "without ORG/REPO"),
            ("https://huggingface.co/datasets/org/data", "/datasets"),
            ("https://huggingface.co/org/repo/tree/main/onnx", "--include 'onnx/'"),
            ("https://huggingface.co/org/repo/blob/main/config.json", "--include 'config.json'"),
            ("https://huggingface.co/org/repo/discussions/3", "another page"),
            ("https://huggingface.co/org/repo/blob/main", "another page"),
        ] {
            let problem = parse(text).expect_err(text);
            assert!(problem.contains(word), "{text}: {problem}");
        }
        assert!(!is_address("org/repo") && !is_address("hf.co") && !is_address("hf.community/repo"));
    }
}
