//! The page of the browser at `/`.

use std::fs;
use std::path::Path;

use honelm_server::{Config, Registry};
use tempfile::TempDir;

use crate::common::{Running, config, raw, start_with};

/// A built page, beside a file that is not part of it.
fn built() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("web/assets")).unwrap();
    for (name, contents) in [
        ("web/index.html", "<!doctype html><html><head><title>page</title></head></html>"),
        ("web/assets/main.js", "start()"),
        ("web/assets/module.wasm", "wasm"),
        ("web/.env", "secret"),
        ("secret", "secret"),
    ] {
        fs::write(dir.path().join(name), contents).unwrap();
    }
    dir
}

/// Starts a server without models.
fn start(config: Config, key: Option<&str>) -> Running {
    let registry = Registry::of(&config);
    start_with(config, registry, key.map(str::to_owned))
}

fn with_page(folder: &Path) -> Config {
    Config { web_dir: Some(folder.join("web")), ..config() }
}

fn get(server: &Running, path: &str) -> (u16, String) {
    raw(server, &format!("GET {path} HTTP/1.1"), &[("Host", "localhost")], "")
}

#[test]
fn the_page_is_served_with_its_policy_and_knows_its_server() {
    let dir = built();
    for (key, mark) in [(None, "data-key=\"none\""), (Some("k"), "data-key=\"required\"")] {
        let server = start(with_page(dir.path()), key);
        for path in ["/", "/index.html"] {
            let (status, response) = get(&server, path);
            assert_eq!(status, 200, "{response}");
            let named = format!("<head><meta name=\"honelm-server\" content=\"v1/\" {mark} /><title>page</title>");
            assert!(response.contains(&named), "{response}");
            assert!(response.contains("script-src 'self' 'wasm-unsafe-eval'; style-src"), "{response}");
            assert!(response.contains("frame-ancestors 'none'"), "{response}");
        }
        for (path, kind) in [("/assets/main.js", "text/javascript"), ("/assets/module.wasm", "application/wasm")] {
            let (status, response) = get(&server, path);
            assert_eq!(status, 200, "{path}: {response}");
            for header in [kind, "content-security-policy: default-src 'self'", "x-content-type-options: nosniff"] {
                assert!(response.contains(header), "{path}: {response}");
            }
        }
    }
}

#[test]
fn only_the_files_of_the_page_need_no_key() {
    let dir = built();
    let server = start(with_page(dir.path()), Some("k"));
    for path in ["/v1/models", "/status.json", "/metrics", "/props", "/openapi.json"] {
        assert_eq!(get(&server, path).0, 401, "{path}");
    }
    let outside = [
        "/.env",
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/assets/../../secret",
        "/secret",
        "/v1/none",
        "/assets",
    ];
    for path in outside {
        let (status, response) = get(&server, path);
        assert!(status == 404 || status == 307, "{path}: {response}");
        assert!(!response.contains("secret\r\n") && !response.ends_with("secret"), "{path}: {response}");
    }
    let (status, response) = get(&server, "/none.js");
    assert_eq!(status, 404);
    assert!(response.contains("\"code\":\"not_found\""), "{response}");
    let post = |path: &str| raw(&server, &format!("POST {path} HTTP/1.1"), &[("Host", "localhost")], "").0;
    assert_eq!((post("/assets/main.js"), post("/v1/none")), (401, 401), "other methods need the key");
}

#[test]
fn the_page_is_refused_to_foreign_hosts_and_pages() {
    let dir = built();
    let server = start(with_page(dir.path()), None);
    for path in ["/", "/assets/main.js"] {
        let line = format!("GET {path} HTTP/1.1");
        assert_eq!(raw(&server, &line, &[("Host", "evil.example")], "").0, 403, "{path}");
        let foreign = [("Host", "localhost"), ("Origin", "https://evil.example")];
        assert_eq!(raw(&server, &line, &foreign, "").0, 403, "{path}");
        let loaded = [("Host", "localhost"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")];
        assert_eq!(raw(&server, &line, &loaded, "").0, 403, "{path}");
    }
}

#[test]
fn without_a_built_page_there_is_a_small_one() {
    let dir = built();
    for config in [config(), Config { web: false, ..with_page(dir.path()) }] {
        let server = start(config, Some("k"));
        let (status, response) = get(&server, "/");
        assert_eq!(status, 200);
        assert!(response.contains("<title>HoneLM</title>") && !response.contains("honelm-server"), "{response}");
        assert_eq!(get(&server, "/assets/main.js").0, 401);
    }
}

#[test]
fn a_folder_without_a_page_is_refused_at_the_start() {
    let dir = built();
    let runtime = crate::common::runtime();
    let bind = |config: Config| {
        let registry = Registry::of(&config);
        runtime.block_on(honelm_server::Server::bind(config, registry, None)).err().map(|error| error.to_string())
    };
    let missing = Config { web_dir: Some(dir.path().join("web/assets")), ..config() };
    assert!(bind(missing).is_some_and(|error| error.contains("index.html")));
    fs::write(dir.path().join("web/index.html"), "no page").unwrap();
    assert!(bind(with_page(dir.path())).is_some_and(|error| error.contains("found no <head>")));
}
