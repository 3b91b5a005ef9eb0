//! The calibration texts of a job.

use std::path::{Path, PathBuf};

use clap::Args;
use honelm::TextSource;

use super::at_least_one;

/// The word that stands for the shipped text.
const SHIPPED: &str = "shipped";

/// The calibration texts, and how much of them is used.
#[derive(Debug, Args)]
pub struct CalibrationArguments {
    /// Calibration text: plain, JSON lines (*.jsonl) or Parquet (*.parquet) with `text` or `messages`, or `shipped`; of
    /// several, such as A,B, the best one is taken [default: the shipped text]
    #[arg(long, value_name = "FILES")]
    calibration: Vec<PathBuf>,

    /// Most calibration samples to use
    #[arg(long = "samples", alias = "calibration-blocks", value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub samples: usize,

    /// Tokens per calibration sample
    #[arg(long = "length", alias = "calibration-length", value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    pub length: usize,
}

impl CalibrationArguments {
    /// Returns the texts, the shipped one if none was given.
    pub fn sources(&self) -> Vec<TextSource> {
        match self.calibration.is_empty() {
            true => vec![TextSource::Shipped],
            false => self.calibration.iter().flat_map(|path| split(path)).map(|path| source(&path)).collect(),
        }
    }
}

/// Returns the paths of a list with commas. A file whose own name has commas is one path.
fn split(path: &Path) -> Vec<PathBuf> {
    match path.to_str() {
        Some(list) if !path.exists() => list.split(',').map(PathBuf::from).collect(),
        _ => vec![path.to_owned()],
    }
}

/// Returns the text at a path; a word stands for the shipped one.
pub fn source(path: &Path) -> TextSource {
    if path == Path::new(SHIPPED) && !path.exists() { TextSource::Shipped } else { TextSource::File(path.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_but_not_the_names_of_files() {
        let dir = tempfile::tempdir().expect("a folder");
        let odd = dir.path().join("a,b.txt");
        std::fs::write(&odd, "text").expect("written");
        let arguments = CalibrationArguments {
            calibration: vec![odd.clone(), PathBuf::from("c.txt,shipped,d.jsonl")],
            samples: 1,
            length: 1,
        };
        let file = |path: &str| TextSource::File(PathBuf::from(path));
        let expected = vec![TextSource::File(odd), file("c.txt"), TextSource::Shipped, file("d.jsonl")];
        assert_eq!(arguments.sources(), expected);
        let none = CalibrationArguments { calibration: Vec::new(), ..arguments };
        assert_eq!(none.sources(), [TextSource::Shipped]);
    }
}
