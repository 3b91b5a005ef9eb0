use super::*;
use crate::digest_bytes;

const MIB: u64 = 1 << 20;

/// Returns a record with one file of this size in chunks of a MiB.
fn record(bytes: u64) -> (Record, usize) {
    let mut record = Record::create(Model::new("id", "name", Some("http://host/x.gguf"), 7)).expect("a record");
    let new = NewFile { bytes: Some(bytes), chunk_bytes: MIB, ..NewFile::named("x.gguf") };
    let file = record.add(new).expect("a file");
    record.list().expect("listed");
    (record, file)
}

/// Returns a different hash for each number.
fn hash(chunk: usize) -> String {
    digest_bytes(chunk.to_le_bytes())
}

#[test]
fn a_download_that_is_cut_anywhere_resumes_with_what_its_log_tells() {
    let (mut whole, file) = record(5 * MIB + 3);
    // Two chunks at a time, the second of which arrives first; one of them in parts.
    while let Some(first) = whole.take(file).expect("a chunk") {
        let second = whole.take(file).expect("a chunk");
        for wanted in second.into_iter().chain([first]) {
            whole.part(file, wanted.chunk, wanted.length / 2).expect("a part");
            whole.whole(file, wanted.chunk, &hash(wanted.chunk)).expect("a chunk");
        }
    }
    assert!(whole.is_complete());
    let log = whole.drain();
    let first_line = log.iter().position(|b| *b == b'\n').expect("a line");
    let mut stored = 0;
    for cut in first_line + 1..=log.len() {
        let (mut resumed, valid) = Record::replay(&log[..cut]).expect("a record");
        assert!(valid <= cut && log[..valid].ends_with(b"\n"));
        let now = resumed.summary().stored;
        assert!(now >= stored, "bytes are never lost: {now} after {stored}");
        stored = now;
        let missing = std::iter::from_fn(|| resumed.files.get_mut(file)?.take(false).expect("a chunk"));
        let missing: u64 = missing.map(|wanted| wanted.length).sum();
        if resumed.find("x.gguf").is_some() {
            assert_eq!(stored + missing, 5 * MIB + 3, "nothing is fetched twice, and nothing is left out");
        }
    }
    assert_eq!(stored, 5 * MIB + 3);
    let (again, _) = Record::replay(&log).expect("a record");
    assert_eq!(again.summary(), whole.summary());
}

#[test]
fn a_log_continues_after_its_damaged_end_is_cut() {
    let (mut record, file) = record(2 * MIB);
    record.whole(file, 0, &hash(0)).expect("a chunk");
    let mut log = record.drain();
    log.extend_from_slice(b"0123456789abcdef {\"entry\":\"whole\",\"file\":0,");
    let (mut resumed, valid) = Record::replay(&log).expect("a record");
    log.truncate(valid);
    resumed.whole(file, 1, &hash(1)).expect("a chunk");
    log.extend(resumed.drain());
    assert!(Record::replay(&log).expect("a record").0.is_complete());
}

#[test]
fn a_damaged_chunk_alone_is_fetched_again_and_must_have_its_hash() {
    let (mut record, file) = record(3 * MIB);
    for chunk in 0..3 {
        record.whole(file, chunk, &hash(chunk)).expect("a chunk");
    }
    assert_eq!(record.summary().state, State::Complete);
    record.damaged(file, 1).expect("damaged");
    assert_eq!((record.summary().state, record.summary().stored), (State::Damaged, 2 * MIB));
    let wanted = record.take_damaged(file).expect("a file").expect("a chunk");
    assert_eq!((wanted.chunk, wanted.offset, wanted.length), (1, MIB, MIB));
    assert_eq!(record.take(file).expect("a file"), None);
    let error = record.whole(file, 1, &hash(7)).expect_err("other bytes");
    assert_eq!(error.code(), "wrong-hash");
    assert_eq!(record.summary().state, State::Damaged, "the error changes nothing");
    record.whole(file, 1, &hash(1)).expect("the same bytes");
    assert_eq!(record.summary().state, State::Complete);
    assert!(record.damaged(file, 9).is_err() && record.damaged(4, 0).is_err());
}

#[test]
fn the_publishers_hashes_are_compared() {
    let (mut record, _) = record(MIB);
    let chunks = Some(vec![hash(0), hash(1)]);
    let new = NewFile { bytes: Some(2 * MIB), chunk_bytes: MIB, chunks, ..NewFile::named("y.gguf") };
    let y = record.add(new).expect("a file");
    assert_eq!(record.whole(y, 1, &hash(0)).expect_err("a wrong chunk").code(), "wrong-hash");
    record.whole(y, 0, &hash(0)).expect("the right chunk");
    let new = NewFile { bytes: Some(MIB), chunk_bytes: MIB, sha256: Some(hash(9)), ..NewFile::named("z.gguf") };
    let z = record.add(new).expect("a file");
    record.whole(z, 0, &hash(0)).expect("a chunk");
    assert!(record.needs_check(z) && record.files()[z].is_complete());
    assert_eq!(record.check(z, &hash(8)).expect_err("a wrong file").code(), "wrong-hash");
    assert!(record.files()[z].is_untouched(), "nobody knows which chunk is wrong");
    record.whole(z, 0, &hash(0)).expect("a chunk");
    record.check(z, &hash(9)).expect("the right file");
    assert!(!record.needs_check(z));
    let log = record.drain();
    assert_eq!(Record::replay(&log).expect("a record").0.summary(), record.summary());
}

#[test]
fn a_file_that_starts_again_keeps_nothing() {
    let (mut record, file) = record(2 * MIB);
    record.whole(file, 0, &hash(0)).expect("a chunk");
    let again = NewFile { bytes: Some(MIB), chunk_bytes: MIB, ..NewFile::named("x.gguf") };
    assert_eq!(record.add(again).expect("a file"), file);
    assert_eq!((record.summary().stored, record.summary().bytes), (0, MIB));
}

#[test]
fn a_file_of_unknown_size_grows_until_its_end() {
    let (mut record, _) = record(0);
    let file = record.add(NewFile { chunk_bytes: MIB, ..NewFile::named("y.gguf") }).expect("a file");
    record.whole(file, 0, &hash(0)).expect("a chunk");
    record.whole(file, 1, &hash(1)).expect("a chunk");
    assert!(record.whole(file, 3, &hash(3)).is_err(), "a gap");
    assert!(!record.is_complete());
    record.end(file, 2 * MIB + 5).expect("an end");
    assert_eq!(record.take(file).expect("a file").map(|wanted| wanted.length), Some(5));
    record.whole(file, 2, &hash(2)).expect("a chunk");
    assert!(record.is_complete());
    assert_eq!(record.summary().stored, 2 * MIB + 5);
}

#[test]
fn hostile_manifests_are_refused() {
    let (mut record, _) = record(MIB);
    let good = NewFile { bytes: Some(MIB), ..NewFile::named("a/b.json") };
    record.add(good.clone()).expect("a file");
    for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", "C:x", "a\\b", "a\nb", &"x".repeat(201)] {
        assert!(record.add(NewFile { path: path.to_owned(), ..good.clone() }).is_err(), "{path:?}");
    }
    for hash in ["", "00", &"G".repeat(64)] {
        assert!(record.add(NewFile { sha256: Some(hash.to_owned()), ..good.clone() }).is_err(), "{hash:?}");
    }
    assert!(record.add(NewFile { chunks: Some(vec![hash(0); 2]), ..good.clone() }).is_err(), "too many hashes");
    assert!(record.add(NewFile { bytes: Some(u64::MAX), ..good.clone() }).is_err(), "too large");
    for name in ["", " ", "a\u{7}b", &"x".repeat(201)] {
        assert!(record.rename(name).is_err(), "{name:?}");
    }
    let before = record.summary();
    let log = record.drain();
    assert_eq!(Record::replay(&log).expect("a record").0.summary(), before, "what was refused is not in the log");
}

#[test]
fn other_logs_are_refused() {
    for bytes in [&b""[..], b"nonsense\n", b"0123456789abcdef {}\n"] {
        assert_eq!(Record::replay(bytes).expect_err("no record").code(), "damaged-record");
    }
    let mut other = Log::default();
    let mut model = Model::new("id", "name", None, 0);
    model.version = 2;
    let line = other.line(&Entry::Model(model)).expect("a line");
    assert!(Record::replay(&line).expect_err("another version").to_string().contains("found 2, expected 1"));
}
