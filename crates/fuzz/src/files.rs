//! Targets for model files: containers, configurations, and weights of every quantised format.

use std::path::Path;

use honelm_formats::gguf::Gguf;
use honelm_formats::imatrix::{Form, Imatrix};
use honelm_formats::parquet::Parquet;
use honelm_formats::safetensors::Safetensors;
use honelm_formats::{FileData, TensorSource, parse_json};
use honelm_model::{Checkpoint, FolderFiles, OpenOptions, Parameters};
use honelm_store::hub::{Listing, ModelSpec};
use honelm_text::{ChatTemplate, Tokenizer};

use crate::parts;

/// Decodes every tensor as far as possible.
fn read_all(source: &dyn TensorSource) {
    for name in source.names() {
        let _ = source.info(name);
        if let Ok(matrix) = source.matrix(name)
            && matrix.rows > 0
        {
            let mut row = vec![0.0; matrix.cols];
            matrix.dequantize_row(matrix.rows - 1, &mut row);
            let _ = matrix.check_finite();
        }
        let _ = source.get(name).map(|tensor| tensor.integers());
    }
}

/// Reads every weight of the module tree, as a loader does.
fn read_weights(checkpoint: &Checkpoint) {
    for slot in checkpoint.tree().slots() {
        let _ = checkpoint.encoding(slot);
        if let Ok(parameter) = checkpoint.parameter(slot)
            && parameter.weight.rows() > 0
        {
            let mut row = vec![0.0; parameter.weight.cols()];
            parameter.weight.dequantize_row(parameter.weight.rows() - 1, &mut row);
        }
    }
}

pub(crate) fn gguf(data: &[u8]) {
    let Ok(gguf) = Gguf::parse(data.to_vec(), "fuzz.gguf") else { return };
    for (_, value) in gguf.metadata.iter() {
        let _ = (value.describe(), value.integer());
    }
    read_all(&gguf);
}

/// Opens a model in two files.
pub(crate) fn gguf_parts(data: &[u8]) {
    let [first, second] = parts(data);
    let named = |bytes: &[u8], no: usize| (FileData::from(bytes.to_vec()), format!("m-0000{no}-of-00002.gguf"));
    if let Ok(gguf) = Gguf::join(vec![named(first, 1), named(second, 2)]) {
        read_all(&gguf);
    }
}

/// Reads every column of texts.
pub(crate) fn parquet(data: &[u8]) {
    let Ok(file) = Parquet::new(data) else { return };
    for path in file.columns() {
        let _ = file.strings(path, 1 << 20);
    }
}

/// Reads an importance matrix and writes it in both forms.
pub(crate) fn imatrix(data: &[u8]) {
    if let Ok(found) = Imatrix::parse(data.to_vec().into(), "fuzz.gguf") {
        for entry in found.entries.values() {
            assert_eq!(entry.means().len(), entry.sums.len());
        }
        for form in [Form::Gguf, Form::Dat] {
            let _ = found.to_bytes(form);
        }
    }
}

/// Parses a Hub's listing of a repository.
pub(crate) fn hub_listing(data: &[u8]) {
    let _ = Listing::parse(data);
    let _ = str::from_utf8(data).map(str::parse::<ModelSpec>);
}

pub(crate) fn gguf_model(data: &[u8]) {
    let parse = || Gguf::parse(data.to_vec(), "fuzz.gguf");
    let Ok(gguf) = parse() else { return };
    if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
        crate::text::use_tokenizer(&tokenizer);
        if let Some(source) = tokenizer.chat_template() {
            let _ = ChatTemplate::new(source, tokenizer.special_tokens());
        }
    }
    if let Ok(checkpoint) = Checkpoint::from_gguf(gguf, Path::new("fuzz.gguf"), &OpenOptions::default()) {
        read_weights(&checkpoint);
    }
}

pub(crate) fn safetensors(data: &[u8]) {
    if let Ok(file) = Safetensors::parse(data.to_vec(), "model.safetensors") {
        read_all(&file);
    }
}

pub(crate) fn safetensors_index(data: &[u8]) {
    let [index, first, second] = parts(data);
    let open = |name: &str| {
        let bytes = if name.ends_with("2-of-00002.safetensors") { second } else { first };
        Ok((FileData::from(bytes.to_vec()), name.to_owned()))
    };
    if let Ok(file) = Safetensors::from_shards("model.safetensors.index.json", index, open) {
        read_all(&file);
    }
}

/// Opens a configuration alone. The missing weights are reported only after the whole configuration was understood.
pub(crate) fn config(data: &[u8]) {
    folder_of(data, b"", b"", b"\x02\0\0\0\0\0\0\0{}");
}

pub(crate) fn folder(data: &[u8]) {
    let [config, quantize_config, quant_config, tensors] = parts(data);
    folder_of(config, quantize_config, quant_config, tensors);
}

fn folder_of(config: &[u8], quantize_config: &[u8], quant_config: &[u8], tensors: &[u8]) {
    let Ok(config) = parse_json("config.json", config) else { return };
    let Ok(tensors) = Safetensors::parse(tensors.to_vec(), "model.safetensors") else { return };
    let files = FolderFiles {
        config,
        generation_config: None,
        quantize_config: parse_json("quantize_config.json", quantize_config).ok(),
        quant_config: parse_json("quant_config.json", quant_config).ok(),
        embedding: None,
    };
    if let Ok(checkpoint) = Checkpoint::from_folder(Path::new("fuzz"), files, tensors, &OpenOptions::default()) {
        read_weights(&checkpoint);
    }
}
