//! The layout of the cache, which is that of other tools.

use std::fs;

use honelm_store::StoreError;
use honelm_store::hub::{ModelSpec, check_model, find};
use honelm_testing::hub::{COMMIT, HubAnswer};

use crate::common::{Bench, folder, names, noise};

fn spec(text: &str) -> ModelSpec {
    text.parse().expect("a spec")
}

#[test]
fn a_pull_fills_blobs_snapshots_and_refs() {
    let mut bench = Bench::new(&folder(100_000));
    let pulled = bench.pull().expect("pulled");
    let cache = bench.repository();
    let paths: Vec<&str> = pulled.files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["config.json", "model.safetensors", "templates/own.jinja", "tokenizer.json"]);
    assert_eq!(pulled.path, cache.join("snapshots").join(COMMIT));
    assert_eq!(pulled.model.as_deref(), Some(pulled.path.as_path()));
    assert_eq!((pulled.bytes, pulled.received_bytes), (100_039, 100_039));
    assert_eq!(names(&pulled.path), paths);
    assert_eq!(fs::read_to_string(cache.join("refs/main")).expect("a ref"), COMMIT);
    let mut blobs: Vec<String> = pulled.files.iter().map(|f| f.hash.clone()).collect();
    blobs.sort();
    assert_eq!(names(&cache.join("blobs")), blobs);
    assert_eq!(fs::read(bench.blob("model.safetensors")).expect("a blob"), noise(100_000, 1));
    assert_eq!(fs::read(pulled.path.join("templates/own.jinja")).expect("linked"), b"{{ messages }}");
    #[cfg(unix)]
    {
        let link = fs::read_link(pulled.path.join("templates/own.jinja")).expect("a link");
        let blob = bench.server.id("templates/own.jinja");
        assert_eq!(link.to_str(), Some(format!("../../../blobs/{blob}").as_str()));
    }
    assert!(bench.options.settings.cache.join(".locks/models--org--tiny").is_dir());
    assert_eq!(bench.warnings, Vec::<String>::new());
    assert_eq!(find(&spec("org/tiny"), &bench.options.settings.cache).expect("found"), pulled.path);
}

#[test]
fn cached_files_are_not_fetched_again() {
    let mut bench = Bench::new(&folder(100_000));
    bench.pull().expect("pulled");
    let before = bench.server.seen().len();
    let again = bench.pull().expect("again");
    assert_eq!((again.bytes, again.received_bytes), (100_039, 0));
    assert_eq!(bench.server.seen().len(), before + 1, "the listing alone");
    // A lost link is restored.
    fs::remove_dir_all(&again.path).expect("removed");
    assert_eq!(bench.pull().expect("linked").received_bytes, 0);
    assert!(again.path.join("model.safetensors").is_file());
    // A damaged blob is fetched again.
    fs::write(bench.blob("config.json"), "x").expect("damaged");
    assert_eq!(bench.pull().expect("mended").received_bytes, 23);
}

/// Flips a bit without changing the length.
fn damage(path: &std::path::Path) {
    let mut bytes = fs::read(path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("damaged");
}

/// Sets a file's modification time to long ago.
fn age(path: &std::path::Path) {
    let file = fs::File::options().write(true).open(path).expect("a file");
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)).expect("a time");
}

#[test]
fn a_damaged_blob_of_the_right_length_is_found_and_fetched_again() {
    let mut bench = Bench::new(&folder(10_000));
    let pulled = bench.pull().expect("pulled");
    check_model(&pulled.path).expect("intact");
    for name in ["model.safetensors", "config.json", "templates/own.jinja"] {
        let blob = bench.blob(name);
        let size = fs::metadata(&blob).expect("there").len();
        age(&blob);
        check_model(&pulled.path).expect("intact");
        damage(&blob);
        let damaged = [check_model(&pulled.path), check_model(&pulled.path.join("config.json"))];
        for error in damaged.map(|checked| checked.expect_err("damaged")) {
            assert_eq!(error.code(), "damaged-blob");
            let said = error.to_string();
            assert!(said.contains(name) && said.contains("`honelm pull org/tiny`"), "{said}");
        }
        assert_eq!(bench.pull().expect("mended").received_bytes, size, "{name}");
        assert!(bench.warnings.pop().is_some_and(|w| w.contains(name) && w.contains("damaged")));
        check_model(&pulled.path).expect("mended");
    }
    assert_eq!(fs::read(bench.blob("model.safetensors")).expect("a blob"), noise(10_000, 1));
}

#[test]
fn a_blob_is_hashed_on_first_use_and_when_its_size_or_time_differ() {
    let mut bench = Bench::new(&[("m-00001-of-00002.gguf", noise(900, 1)), ("m-00002-of-00002.gguf", noise(700, 2))]);
    let model = bench.pull().expect("pulled").model.expect("a model");
    let memory = bench.repository().join("honelm-checked.json");
    let remembered = fs::read_to_string(&memory).expect("kept beside");
    assert_eq!(remembered.matches("\"blobs/").count(), 2, "{remembered}");
    // Damage that keeps the modification time is not found a second time, by design.
    let second = bench.blob("m-00002-of-00002.gguf");
    age(&second);
    check_model(&model).expect("hashed and right");
    damage(&second);
    age(&second);
    check_model(&model).expect("remembered");
    // Without a valid record, the blob is hashed.
    for contents in [None, Some(""), Some("{}"), Some("{\"blobs/x\": 1}"), Some(&remembered)] {
        match contents {
            None => fs::remove_file(&memory).expect("removed"),
            Some(text) => fs::write(&memory, text).expect("written"),
        }
        assert_eq!(check_model(&model).expect_err("damaged").code(), "damaged-blob", "{contents:?}");
    }
}

#[test]
fn a_model_outside_of_the_cache_has_no_hashes_to_check() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("config.json"), "{}").expect("written");
    for path in [dir.path().to_owned(), dir.path().join("config.json"), dir.path().join("absent.gguf")] {
        check_model(&path).expect("nothing to check");
    }
}

#[test]
fn revisions_are_kept_apart() {
    let mut bench = Bench::new(&folder(1000));
    let pulled = bench.pull_spec("org/tiny@refs/pr/1").expect("pulled");
    assert_eq!(pulled.revision, "refs/pr/1");
    let cache = &bench.options.settings.cache;
    assert_eq!(fs::read_to_string(bench.repository().join("refs/refs/pr/1")).expect("a ref"), COMMIT);
    assert_eq!(find(&spec("org/tiny@refs/pr/1"), cache).expect("found"), pulled.path);
    assert_eq!(find(&spec(&format!("org/tiny@{COMMIT}")), cache).expect("found"), pulled.path);
    let absent = find(&spec("org/tiny"), cache).expect_err("never fetched");
    assert!(absent.to_string().contains("honelm pull org/tiny"), "{absent}");
    let unknown = bench.pull_spec("org/tiny@v9").expect_err("no such revision");
    assert_eq!(unknown.code(), "not-found");
    let other = bench.pull_spec("org/huge").expect_err("no such repository");
    assert_eq!(other.code(), "repository-not-found");
}

#[test]
fn a_quant_is_pulled_and_found_by_its_name() {
    let mut bench = Bench::new(&[
        ("m-Q4_K_M.gguf", noise(900, 1)),
        ("m-Q8_0-00001-of-00002.gguf", noise(700, 2)),
        ("m-Q8_0-00002-of-00002.gguf", noise(600, 3)),
    ]);
    assert_eq!(bench.pull().expect_err("a choice").code(), "several-files");
    assert_eq!(bench.server.sent(), 0);
    let pulled = bench.pull_spec("org/tiny:q8_0").expect("both parts");
    let cache = bench.options.settings.cache.clone();
    let first = pulled.path.join("m-Q8_0-00001-of-00002.gguf");
    assert_eq!((pulled.files.len(), pulled.model), (2, Some(first.clone())));
    for text in ["org/tiny", "org/tiny:Q8_0", "org/tiny:m-Q8_0-00002-of-00002.gguf"] {
        assert_eq!(find(&spec(text), &cache).expect(text), first);
    }
    let absent = find(&spec("org/tiny:Q4_K_M"), &cache).expect_err("not here").to_string();
    assert!(absent.contains("only Q8_0") && absent.contains("`honelm pull org/tiny:Q4_K_M`"), "{absent}");
    bench.pull_spec("org/tiny:Q4_K_M").expect("the other");
    assert_eq!(find(&spec("org/tiny"), &cache).expect_err("two now").code(), "several-files");
    // An incomplete model is not found.
    fs::remove_file(pulled.path.join("m-Q8_0-00002-of-00002.gguf")).expect("removed");
    let half = find(&spec("org/tiny:Q8_0"), &cache).expect_err("half");
    assert_eq!(half.code(), "model-not-found");
    assert!(half.to_string().contains("part 2 of 2"), "{half}");
}

#[test]
fn a_dangling_link_is_not_a_file() {
    let mut bench = Bench::new(&folder(1000));
    bench.pull().expect("pulled");
    fs::remove_file(bench.blob("model.safetensors")).expect("removed");
    let error = find(&spec("org/tiny"), &bench.options.settings.cache).expect_err("no weights");
    assert!(error.to_string().contains("weights are missing"), "{error}");
    bench.pull().expect("mended");
    find(&spec("org/tiny"), &bench.options.settings.cache).expect("found");
}

#[test]
fn without_symbolic_links_files_are_in_the_snapshot_itself() {
    let mut bench = Bench::new(&folder(1000));
    bench.options.settings.symlinks = false;
    let pulled = bench.pull().expect("pulled");
    let weights = pulled.path.join("model.safetensors");
    assert!(fs::symlink_metadata(&weights).expect("a file").is_file());
    assert_eq!(fs::read(&weights).expect("readable"), noise(1000, 1));
    assert_eq!(names(&bench.repository().join("blobs")), Vec::<String>::new());
    assert_eq!(bench.pull().expect("again").received_bytes, 0);
    assert_eq!(find(&spec("org/tiny"), &bench.options.settings.cache).expect("found"), pulled.path);
    // A damaged file is fetched again.
    fs::write(&weights, noise(1000, 9)).expect("damaged");
    assert_eq!(bench.pull().expect("mended").received_bytes, 1000);
    assert_eq!(fs::read(&weights).expect("readable"), noise(1000, 1));

    // A blob that another snapshot may refer to is copied.
    let mut bench = Bench::new(&folder(1000));
    let pulled = bench.pull().expect("with links");
    fs::remove_dir_all(&pulled.path).expect("removed");
    bench.options.settings.symlinks = false;
    assert_eq!(bench.pull().expect("copied").received_bytes, 0);
    assert!(fs::symlink_metadata(pulled.path.join("model.safetensors")).expect("a file").is_file());
    assert!(bench.blob("model.safetensors").is_file());
}

#[test]
fn a_mirror_without_sizes_and_hashes_is_asked_for_them() {
    let mut bench = Bench::new(&folder(5000));
    bench.server.misbehave(|request, answer| {
        if !request.target.starts_with("/api") {
            return answer;
        }
        let names = ["config.json", "model.safetensors", "tokenizer.json"];
        let siblings: Vec<String> = names.iter().map(|n| format!(r#"{{"rfilename": "{n}"}}"#)).collect();
        HubAnswer::new(200, &[], format!(r#"{{"sha": "{COMMIT}", "siblings": [{}]}}"#, siblings.join(",")))
    });
    let pulled = bench.pull().expect("pulled");
    assert_eq!(pulled.files[1].hash, bench.server.id("model.safetensors"));
    assert_eq!(pulled.files[0].hash, bench.server.id("config.json"));
    assert_eq!(bench.server.seen().iter().filter(|r| r.method == "HEAD").count(), 4, "one is redirected");
}

#[test]
fn nothing_is_fetched_offline() {
    let mut bench = Bench::new(&folder(1000));
    bench.options.settings.offline = true;
    assert!(matches!(bench.pull(), Err(StoreError::Offline { .. })));
    assert!(bench.server.seen().is_empty());
}

#[test]
fn a_disk_that_is_too_small_is_found_before_anything_is_fetched() {
    let mut bench = Bench::new(&folder(1000));
    bench.server.misbehave(|request, answer| {
        if !request.target.starts_with("/api") {
            return answer;
        }
        let text = String::from_utf8((*answer.contents).clone()).expect("text");
        HubAnswer::new(200, &[], text.replace("\"size\": 1000", "\"size\": 900000000000000000"))
    });
    let error = bench.pull().expect_err("too large");
    assert_eq!(error.code(), "disk-full");
    assert!(error.to_string().contains("HF_HUB_CACHE"), "{error}");
    assert_eq!(bench.server.sent(), 0);
}
