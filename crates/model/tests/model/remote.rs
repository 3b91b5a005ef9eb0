//! Models of which only parts are here.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use honelm_formats::gguf::Gguf;
use honelm_formats::{Bytes, FileData, FormatError};
use honelm_model::export::gguf;
use honelm_model::{Checkpoint, Device, LoadOptions, Loader, Model, ModelError, OpenOptions};
use honelm_testing::Naive;

use crate::common::logits;
use crate::tiny::tiny;

/// Drives `work` until it needs nothing more of `file`; the most bytes that were here at once.
fn drive<T>(
    file: &[u8],
    data: &FileData,
    mut work: impl FnMut() -> Result<T, ModelError>,
) -> Result<(T, u64), ModelError> {
    let (mut here, mut most) = (0, 0);
    loop {
        match work() {
            Err(ModelError::Format(FormatError::NotFetched { range, .. })) => {
                data.insert(range.start, Bytes::copy_from_slice(&file[range.start as usize..range.end as usize]));
                here += range.end - range.start;
                most = most.max(here);
            }
            other => return other.map(|done| (done, most)),
        }
    }
}

fn naive(slab: Option<usize>) -> Device {
    Rc::new(RefCell::new(slab.map_or_else(Naive::new, Naive::with_slabs)))
}

#[test]
fn a_remote_model_loads_slab_by_slab() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama-grouped", "gemma2-caps", "gpt2-tied"] {
        let original = Checkpoint::open(tiny(name)).unwrap();
        let path = folder.path().join(format!("{name}.gguf"));
        gguf(&path, original.blueprint(), &original, Vec::new(), &|_| None).unwrap();
        let file = std::fs::read(&path).unwrap();
        let data = FileData::remote(file.len() as u64);
        let options = OpenOptions::default();
        let parse = || Gguf::parse(data.clone(), "model.gguf");
        let open = || Checkpoint::from_gguf(parse()?, Path::new("model.gguf"), &options);
        let (remote, _) = drive(&file, &data, open).unwrap();
        data.forget();
        let device = naive(Some(1000));
        let mut loader = Loader::new(remote.blueprint());
        let (mut slabs, mut most) = (0, 0);
        loop {
            let (more, here) = drive(&file, &data, || loader.advance(&remote, &mut *device.borrow_mut())).unwrap();
            data.forget();
            if !more {
                break;
            }
            (slabs, most) = (slabs + 1, most.max(here));
        }
        let (done, total) = loader.progress();
        assert!(done == total && slabs > 2 * total, "{name}: {slabs} steps for {total} weights");
        // Only what has to be turned or joined comes whole.
        assert!(most < file.len() as u64 / 4, "{name}: {most} bytes of {} at once", file.len());
        let options = LoadOptions::default();
        let mut remote = loader.finish(device, &options).unwrap();
        let here = Checkpoint::open(&path).unwrap();
        let mut here = Model::load(here.blueprint(), &here, naive(None), &options).unwrap();
        let tokens: Vec<u32> = (0..9).map(|i| i * 5 % 40).collect();
        assert_eq!(logits(&mut remote, &tokens, 9), logits(&mut here, &tokens, 9), "{name}");
    }
}

#[test]
fn a_loader_can_read_a_file_from_the_beginning_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for name in ["llama-grouped", "gpt2-tied"] {
        let original = Checkpoint::open(tiny(name)).unwrap();
        gguf(&path, original.blueprint(), &original, Vec::new(), &|_| None).unwrap();
        let file = std::fs::read(&path).unwrap();
        let data = FileData::remote(file.len() as u64);
        let options = OpenOptions::default();
        let parse = || Gguf::parse(data.clone(), "model.gguf");
        let open = || Checkpoint::from_gguf(parse()?, Path::new("model.gguf"), &options);
        let (remote, _) = drive(&file, &data, open).unwrap();
        let starts = |slots| {
            let (device, mut starts) = (naive(None), Vec::new());
            let mut loader = Loader::in_order(remote.blueprint(), slots);
            data.forget();
            loop {
                match loader.advance(&remote, &mut *device.borrow_mut()) {
                    Err(ModelError::Format(FormatError::NotFetched { range, .. })) => {
                        starts.push(range.start);
                        let bytes = &file[range.start as usize..range.end as usize];
                        data.insert(range.start, Bytes::copy_from_slice(bytes));
                    }
                    other => {
                        if !other.unwrap() {
                            return starts;
                        }
                    }
                }
            }
        };
        let reversed: Vec<_> = remote.slots_as_stored().into_iter().rev().collect();
        assert!(starts(remote.slots_as_stored()).is_sorted(), "{name}");
        assert!(!starts(reversed).is_sorted(), "{name}: the order is that of the slots");
    }
}
