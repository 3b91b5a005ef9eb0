//! Runs every committed input, including all that ever broke a parser, and damaged copies of it through its target.

use std::path::{Path, PathBuf};

use honelm_fuzz::{TARGETS, Target};

/// The number of damaged copies of each input.
const COPIES: u64 = 24;

#[test]
fn every_input_of_the_corpus_comes_back() {
    each_input(|target, _, input| (target.run)(input));
    let folders = std::fs::read_dir(corpus()).expect("the corpus").count();
    assert_eq!(folders, TARGETS.len(), "a folder for each target and no other");
}

/// The same copies in every run, so that a change decides and not chance. `cargo xtask fuzz` searches for others.
#[test]
fn damaged_copies_of_the_corpus_come_back() {
    each_input(|target, path, input| {
        for seed in 1..=COPIES {
            let copy = damaged(input, seed);
            let caught = std::panic::catch_unwind(|| (target.run)(&copy));
            assert!(caught.is_ok(), "{}: damaged copy {seed}", path.display());
        }
    });
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn each_input(run: impl Fn(&Target, &Path, &[u8])) {
    for target in TARGETS {
        let folder = corpus().join(target.name);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        assert!(!paths.is_empty(), "{}: no inputs", folder.display());
        for path in paths {
            run(target, &path, &std::fs::read(&path).expect("an input"));
        }
    }
}

/// Returns a copy with up to four changes: a bit flipped, a byte replaced by an extreme one, a piece removed, doubled or
/// copied elsewhere, or the end cut off.
fn damaged(input: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut copy = input.to_vec();
    for _ in 0..=random.below(4) {
        if copy.is_empty() {
            break;
        }
        let at = random.below(copy.len());
        let end = (at + 1 + random.below(32)).min(copy.len());
        match random.below(6) {
            0 => copy[at] ^= 1 << random.below(8),
            1 => copy[at] = [0, 0xFF, 0x7F, 0x80, b'"', b'\\', b'{', b'9'][random.below(8)],
            2 => drop(copy.drain(at..end)),
            3 => copy.extend_from_within(at..end),
            4 => {
                let to = random.below(copy.len() - (end - at) + 1);
                copy.copy_within(at..end, to);
            }
            _ => copy.truncate(at),
        }
    }
    copy
}

/// Marsaglia's 64-bit xorshift ("Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
