use std::path::Path;

use honelm_blocks::Encoding;
use honelm_compress::{Calibration, CompressError, Compressed, Scheme, compress};
use honelm_cpu::{Compute, CpuBackend, CpuOptions};
use honelm_formats::read_json;
use honelm_model::{Checkpoint, Parameters, Stream};
use honelm_store::Journal;

/// Returns one model of each architecture, with made-up weights.
pub fn models() -> Vec<(String, Checkpoint)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data/tiny");
    let mut names: Vec<String> =
        data.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let open = |name: String| {
        let config = read_json(data.join(&name).join("config.json")).unwrap().unwrap();
        let checkpoint = Checkpoint::made_up(&name, &config, Encoding::F32, 7).unwrap();
        (name, checkpoint)
    };
    let mut models: Vec<_> = names.into_iter().map(open).collect();
    models.dedup_by_key(|(_, checkpoint)| checkpoint.facts().architecture);
    models
}

pub fn backend() -> CpuBackend {
    CpuBackend::new(CpuOptions { threads: Some(1), compute: Compute::F32, isa: None })
}

/// Returns the calibration text of [`compressed`].
pub fn calibration() -> Calibration {
    let text = (0..48u32).map(|i| i * 7 % 64).collect();
    Calibration::cut([text], 3, 16).unwrap()
}

pub fn compressed<'a>(checkpoint: &'a Checkpoint, scheme: &Scheme, work: &Path) -> Compressed<'a> {
    try_compressed(checkpoint, scheme, work).unwrap()
}

pub fn try_compressed<'a>(
    checkpoint: &'a Checkpoint,
    scheme: &Scheme,
    work: &Path,
) -> Result<Compressed<'a>, CompressError> {
    let journal = Journal::new(&work.join("journal"), &scheme.describe());
    compress(checkpoint, scheme, Some(&calibration()), &journal, &mut backend(), 1, &mut |_| true)
}

/// Returns the hidden states after the last layer, on the first calibration sample.
pub fn hidden(checkpoint: &Checkpoint, params: &dyn Parameters) -> Vec<f32> {
    let (mut backend, samples) = (backend(), &calibration().samples[..1]);
    let mut stream = Stream::new(checkpoint, samples[0].len()).unwrap();
    let mut x = stream.embed(checkpoint, samples, &mut backend).unwrap();
    for i in 0..checkpoint.tree().layers.len() {
        let bound = stream.bind(params, i, &mut backend).unwrap();
        x = stream.run(&bound, i, &x, &[samples[0].len()], &mut backend).unwrap();
    }
    x.data
}
