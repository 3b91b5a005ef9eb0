//! The servers that receive the token, and the allowed redirects.

use honelm_store::StoreError;
use honelm_store::hub::{
    Header, HubSettings, Method, Patience, PullOptions, Response, Token, Transport, TransportError, Url, pull,
};
use honelm_testing::hub::{HubAnswer, HubServer};

use crate::common::{Bench, REPO, folder};

#[test]
fn only_the_endpoint_receives_the_token() {
    let mut bench = Bench::new(&folder(10_000)).with_token("hf_secret");
    // Another port is another server.
    let cdn = HubServer::start("org/cdn", &folder(10_000));
    let elsewhere = cdn.endpoint();
    bench.server.misbehave(move |_, answer| match answer.headers.iter().find(|(name, _)| name == "Location") {
        Some((_, path)) => {
            let location = format!("{elsewhere}{path}");
            answer.with("Location", &location)
        }
        None => answer,
    });
    bench.pull().expect("pulled");
    let at_home = bench.server.seen();
    assert!(at_home.len() >= 5 && at_home.iter().all(|r| r.header("authorization") == Some("Bearer hf_secret")));
    let seen = cdn.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen.iter().all(|r| r.header("authorization").is_none()), "{seen:?}");
}

#[test]
fn a_redirect_on_the_same_host_keeps_the_token() {
    let mut bench = Bench::new(&folder(10_000)).with_token("hf_secret");
    bench.pull().expect("pulled");
    let followed = bench.server.seen().into_iter().find(|r| r.target.starts_with("/cdn/")).expect("followed");
    assert_eq!(followed.header("authorization"), Some("Bearer hf_secret"));
}

/// A transport that answers every request with a redirect, and records the requests.
struct Redirecting(&'static str, std::cell::RefCell<Vec<(String, bool)>>);

impl Transport for Redirecting {
    fn send(&self, _: Method, url: &Url, headers: &[Header]) -> Result<Response, TransportError> {
        let token = headers.iter().any(|(name, _)| *name == "Authorization");
        self.1.borrow_mut().push((url.to_string(), token));
        let headers = vec![("Location".to_owned(), self.0.to_owned())];
        Ok(Response { status: 302, headers, body: Box::new(std::io::empty()) })
    }

    fn wait(&self, _: std::time::Duration) {}
}

fn redirected(to: &'static str) -> (StoreError, Vec<(String, bool)>) {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = HubSettings {
        endpoint: Url::parse("https://hub.example").expect("an address"),
        cache: dir.path().to_owned(),
        token: Token::new("hf_secret", "HF_TOKEN").expect("a token"),
        token_file: dir.path().join("token"),
        offline: false,
        symlinks: true,
    };
    let spec = REPO.parse().expect("a spec");
    let options = PullOptions { spec, include: Vec::new(), settings, patience: Patience::default() };
    let transport = Redirecting(to, std::cell::RefCell::default());
    let error = pull(&options, &transport, &mut |_| true).expect_err("refused");
    (error, transport.1.into_inner())
}

#[test]
fn unencrypted_foreign_and_endless_redirects_are_refused() {
    for to in
        ["http://hub.example/x", "http://cdn.example/x", "file:///etc/passwd", "https://hub.example@evil.example/"]
    {
        let (error, asked) = redirected(to);
        assert_eq!((error.code(), asked.len()), ("redirect-refused", 1), "{to}: {error}");
    }
    let (error, asked) = redirected("/again");
    assert_eq!((error.code(), asked.len()), ("redirect-refused", 8), "{error}");
    let (_, asked) = redirected("https://hub.example:8443/x");
    assert_eq!(asked[..2].iter().map(|(_, token)| *token).collect::<Vec<_>>(), [true, false], "{asked:?}");
    let (_, asked) = redirected("https://hub.example.evil.example/x");
    assert!(!asked[1].1, "{asked:?}");
}

#[test]
fn each_refusal_has_its_own_message() {
    for (status, code, token, expected, word) in [
        (401, "", "", "login-required", "`hf auth login`"),
        (401, "RepoNotFound", "", "login-required", "private or does not exist"),
        (401, "GatedRepo", "", "login-required", "accept its licence on http://127.0.0.1"),
        (401, "", "hf_bad", "token-refused", "the token of HF_TOKEN (401)"),
        (401, "RepoNotFound", "hf_bad", "repository-not-found", "check the name"),
        (403, "GatedRepo", "hf_good", "forbidden", "gated"),
        (403, "", "hf_good", "forbidden", "permission"),
        (404, "RevisionNotFound", "", "not-found", "revision"),
    ] {
        let mut bench = Bench::new(&folder(1000)).with_token(token);
        bench.server.misbehave(move |_, _| HubAnswer::new(status, &[("X-Error-Code", code)], ""));
        let error = bench.pull().expect_err("refused");
        assert_eq!(error.code(), expected, "{status} {code}");
        let text = error.to_string();
        assert!(text.contains(word) && text.contains(&status.to_string()) && !text.contains("hf_"), "{text}");
        assert_eq!(bench.retries, 0, "{error}");
    }
}
