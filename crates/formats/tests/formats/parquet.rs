//! Parquet files that pyarrow wrote, compared with what pyarrow reads.

use honelm_formats::parquet::{Parquet, ParquetError, Strings};
use serde_json::Value;

fn file(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.parquet"));
    std::fs::read(path).unwrap()
}

/// Returns the strings of the first column whose path satisfies a condition.
fn strings(bytes: &[u8], wanted: impl Fn(&[String]) -> bool, most: usize) -> Result<Vec<Strings>, ParquetError> {
    let file = Parquet::new(bytes)?;
    let path = file.columns().find(|path| wanted(path)).unwrap().to_vec();
    file.strings(&path, most)
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

const ALL: usize = usize::MAX;

#[test]
fn strings_are_those_that_pyarrow_reads() {
    let expected: Value = serde_json::from_str(include_str!("../data/parquet.json")).unwrap();
    for name in ["snappy", "plain", "pages", "chat", "chat2", "required"] {
        let found = strings(&file(name), |path| path == ["text"], ALL).unwrap();
        let wanted: Vec<Strings> =
            expected[name].as_array().unwrap().iter().map(|row| vec![string(&row["text"])]).collect();
        assert!(found == wanted, "{name}: {found:?}");
    }
    for name in ["chat", "chat2"] {
        for part in ["role", "content"] {
            let found = strings(&file(name), |path| path.last().unwrap() == part, ALL).unwrap();
            let messages = |row: &Value| row["messages"].as_array().cloned().unwrap_or_default();
            let rows = expected[name].as_array().unwrap().iter();
            let wanted: Vec<Strings> =
                rows.map(|row| messages(row).iter().map(|message| string(&message[part])).collect()).collect();
            assert!(found == wanted, "{name}: {part}: {found:?}");
        }
    }
    let roles = strings(&file("apart"), |path| path[1] == "role", ALL).unwrap();
    assert_eq!(roles, [vec![Some("user".to_owned())], vec![]]);
}

#[test]
fn reading_ends_where_enough_was_read() {
    for name in ["snappy", "pages"] {
        let bytes = file(name);
        let all = strings(&bytes, |path| path == ["text"], ALL).unwrap();
        let some = strings(&bytes, |path| path == ["text"], 200).unwrap();
        assert!(!some.is_empty() && some.len() < all.len() && all.starts_with(&some), "{name}: {}", some.len());
    }
}

#[test]
fn what_is_not_supported_is_named() {
    for (name, wanted, said) in [
        ("gzip", "text", "column text: the compression GZIP is not supported, expected SNAPPY or none"),
        ("delta", "text", "column text: the encoding 7 is not supported, expected plain strings or a dictionary"),
        ("snappy", "id", "column id: the physical type 2 is not supported, expected a string"),
    ] {
        let error = strings(&file(name), |path| path == [wanted], ALL).unwrap_err();
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn damaged_files_are_errors_or_other_strings() {
    for name in ["snappy", "pages", "chat", "plain"] {
        let whole = file(name);
        let read = |bytes: &[u8]| {
            let Ok(file) = Parquet::new(bytes) else { return };
            let paths: Vec<Vec<String>> = file.columns().map(<[String]>::to_vec).collect();
            for path in paths {
                let _ = file.strings(&path, 1 << 20);
            }
        };
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            for change in [0xff, 1 << (at % 8)] {
                bytes[at] ^= change;
                read(&bytes);
            }
            assert!(Parquet::new(&whole[..at]).is_err());
        }
    }
}
