//! GGUF files.

use std::collections::HashMap;
use std::io::Write;

use honelm_blocks::{BlockMatrix, Encoding, WeightData};
#[cfg(not(target_arch = "wasm32"))]
use honelm_formats::gguf::Gguf;
use honelm_formats::gguf::{Value, Writer};
use honelm_formats::{TensorInfo, TensorSink};

use super::refused;
use crate::forms::{Form, with_rows};
use crate::{
    Blueprint, Checkpoint, Kind, ModelError, Parameters, Slot, StoredEncoding, arch, gguf_config, gguf_sampling,
};

/// The key of `enum llama_ftype`.
pub const FILE_TYPE: &str = "general.file_type";

/// Chooses the encoding of a matrix; `None` keeps the encoding of its parameter.
pub type Choose<'a> = dyn Fn(Slot) -> Option<Encoding> + 'a;

/// Returns the metadata (`general.sampling.*`) of a generation_config.json.
#[must_use]
pub fn sampling_metadata(generation: Option<&serde_json::Value>) -> Vec<(String, Value)> {
    generation.map(gguf_sampling::write).unwrap_or_default()
}

/// Returns the metadata of the embeddings of a model.
#[must_use]
pub fn embedding_metadata(checkpoint: &Checkpoint) -> Vec<(String, Value)> {
    let architecture = arch::family_of(checkpoint.blueprint()).gguf;
    checkpoint.embedding().map(|settings| settings.metadata(architecture)).into_iter().collect()
}

/// Writes a GGUF file, which appears at `path` only when it is complete. See [`write_gguf`].
///
/// # Errors
/// The errors of [`write_gguf`], and I/O errors with the path.
#[cfg(not(target_arch = "wasm32"))]
pub fn gguf(
    path: &std::path::Path,
    blueprint: &Blueprint,
    params: &dyn Parameters,
    metadata: Vec<(String, Value)>,
    choose: &Choose<'_>,
) -> Result<(), ModelError> {
    let file = path.display().to_string();
    honelm_formats::write_atomic(path, |out| write_gguf(out, &file, blueprint, params, metadata, choose))
}

/// Writes a GGUF file in parts of at most `limit` bytes: `NAME-00001-of-00003.gguf` and so on beside `path`, or `path`
/// alone if one part is enough. The parts appear only when all are complete and `accept`, which is given the model as it
/// was written, has returned `Ok`. Returns the files, the first part first.
///
/// # Errors
/// The errors of [`gguf`] and of `accept`, and [`honelm_formats::FormatError::TooManyShards`].
#[cfg(not(target_arch = "wasm32"))]
pub fn gguf_parts<E: From<ModelError>>(
    path: &std::path::Path,
    limit: u64,
    blueprint: &Blueprint,
    params: &dyn Parameters,
    metadata: Vec<(String, Value)>,
    choose: &Choose<'_>,
    accept: impl FnOnce(&Checkpoint) -> Result<(), E>,
) -> Result<Vec<std::path::PathBuf>, E> {
    let (mut files, paths) = write_parts(path, limit, blueprint, params, metadata, choose)?;
    accept(&reopened(&mut files, &paths)?)?;
    for file in files {
        file.commit().map_err(ModelError::from)?;
    }
    Ok(paths)
}

/// The parts under their temporary names, and their final names.
#[cfg(not(target_arch = "wasm32"))]
type Parts = (Vec<honelm_formats::AtomicFile>, Vec<std::path::PathBuf>);

/// Writes the parts of [`gguf_parts`] under temporary names.
#[cfg(not(target_arch = "wasm32"))]
fn write_parts(
    path: &std::path::Path,
    limit: u64,
    blueprint: &Blueprint,
    params: &dyn Parameters,
    metadata: Vec<(String, Value)>,
    choose: &Choose<'_>,
) -> Result<Parts, ModelError> {
    let (writer, plan) = declare(blueprint, params, metadata, choose)?;
    let parts = writer.split(limit)?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let target = |no: usize| match parts.len() {
        1 => path.to_owned(),
        count => path.with_file_name(format!("{}.gguf", honelm_formats::shard_name(&stem, no, count))),
    };
    let (mut files, mut paths) = (Vec::new(), Vec::new());
    for (no, part) in parts.iter().enumerate() {
        let path = target(no);
        let mut file = honelm_formats::AtomicFile::create(&path)?;
        part.write_to(&mut file, &path.display().to_string(), |tensor, sink| put(&plan, params, tensor, sink))?;
        files.push(file);
        paths.push(path);
    }
    Ok((files, paths))
}

/// Reads the model back from its parts.
#[cfg(not(target_arch = "wasm32"))]
fn reopened(files: &mut [honelm_formats::AtomicFile], paths: &[std::path::PathBuf]) -> Result<Checkpoint, ModelError> {
    let mut written = Vec::with_capacity(files.len());
    for (file, path) in files.iter_mut().zip(paths) {
        written.push((honelm_formats::map_file(file.written()?)?, path.display().to_string()));
    }
    let gguf = match (written.len(), written.pop()) {
        (1, Some((data, name))) => Gguf::parse(data, name)?,
        (_, last) => {
            written.extend(last);
            Gguf::join(written)?
        }
    };
    let path = paths.first().map_or(std::path::Path::new(""), std::path::PathBuf::as_path);
    Checkpoint::from_gguf(gguf, path, &crate::OpenOptions::default())
}

/// Writes a GGUF file to `out`: the `general.*` and `ARCH.*` metadata of the model, then `metadata` (the tokenizer's
/// metadata and [`sampling_metadata`]), then one tensor at a time. Without a [`FILE_TYPE`] in `metadata`, it is that of the
/// encoding of most weights of the layers. `file` is the name of `out` in messages.
///
/// A matrix is written unchanged if `choose` returns `None` or the matrix's own encoding; otherwise it is rounded to the
/// chosen encoding. Norms and biases are written in F32. Integer groups can be written only in an encoding that holds
/// exactly the same values.
///
/// # Errors
/// [`ModelError::NotExportable`], invalid weights, I/O errors.
pub fn write_gguf<W: Write>(
    out: &mut W,
    file: &str,
    blueprint: &Blueprint,
    params: &dyn Parameters,
    metadata: Vec<(String, Value)>,
    choose: &Choose<'_>,
) -> Result<(), ModelError> {
    let (writer, plan) = declare(blueprint, params, metadata, choose)?;
    writer.write_to(out, file, |tensor, sink| put(&plan, params, tensor, sink))
}

/// Returns the size in bytes of the file that [`write_gguf`] would write.
///
/// # Errors
/// [`ModelError::NotExportable`].
pub fn gguf_size(
    blueprint: &Blueprint,
    params: &dyn Parameters,
    metadata: Vec<(String, Value)>,
    choose: &Choose<'_>,
) -> Result<u64, ModelError> {
    Ok(declare(blueprint, params, metadata, choose)?.0.file_size()?)
}

/// Declares all metadata and tensors. Returns them with the contents of each tensor.
fn declare(
    blueprint: &Blueprint,
    params: &dyn Parameters,
    metadata: Vec<(String, Value)>,
    choose: &Choose<'_>,
) -> Result<(Writer, HashMap<String, Item>), ModelError> {
    let tree = &blueprint.tree;
    let mut writer = Writer::new();
    let mut plan = HashMap::new();
    let mut values: HashMap<Encoding, u64> = HashMap::new();
    for (name, divisors) in gguf_config::tensors(blueprint)? {
        writer.tensor(name, &[divisors.len()], Encoding::F32)?;
        plan.insert(name.to_owned(), Item::Values(divisors));
    }
    for slot in tree.slots() {
        let (Some(module), Some(name)) = (tree.module(slot), tree.gguf_name(slot)) else { continue };
        let encoding = match (module.kind, choose(slot)) {
            (Kind::Norm | Kind::Positions | Kind::TokenTypes, _) => Encoding::F32,
            (_, Some(chosen)) => chosen,
            (_, None) => own_encoding(params.encoding(slot)?, &name)?,
        };
        if slot.layer.is_some() && module.is_linear() {
            *values.entry(encoding).or_default() += (module.shape[0] * module.shape[1]) as u64;
        }
        let form = module.gguf_form();
        writer.tensor(format!("{name}.weight"), &form.shape(module), encoding)?;
        plan.insert(format!("{name}.weight"), Item::Weight(slot, encoding, form));
        if module.bias {
            writer.tensor(format!("{name}.bias"), &[module.bias_len()], Encoding::F32)?;
            plan.insert(format!("{name}.bias"), Item::Bias(slot, form));
        }
    }
    for (key, value) in gguf_config::write(blueprint)? {
        writer.metadata(key, value)?;
    }
    let most = values.into_iter().max_by_key(|&(encoding, count)| (count, encoding)).map(|(encoding, _)| encoding);
    if !metadata.iter().any(|(key, _)| key == FILE_TYPE) {
        writer.metadata(FILE_TYPE, most.and_then(Encoding::file_type).unwrap_or(0))?;
    }
    writer.metadata("general.quantization_version", 2u32)?;
    for (key, value) in metadata {
        writer.metadata(key, value)?;
    }
    Ok((writer, plan))
}

/// Writes the contents of a declared tensor.
fn put(
    plan: &HashMap<String, Item>,
    params: &dyn Parameters,
    tensor: &TensorInfo,
    sink: &mut TensorSink<'_>,
) -> Result<(), ModelError> {
    match plan.get(&tensor.name) {
        Some(Item::Values(values)) => put_floats(sink, values),
        Some(&Item::Weight(slot, encoding, form)) => {
            let weight = params.parameter(slot)?.weight;
            put_weight(sink, &weight, &tensor.name, encoding, form)
        }
        Some(&Item::Bias(slot, form)) => {
            let missing = || refused(&tensor.name, "GGUF", "the weights have no such bias");
            let bias = params.parameter(slot)?.bias.ok_or_else(missing)?;
            let rows = bias.len();
            let stored: Vec<f32> = (0..rows).map(|row| bias[form.stored_row(row, rows)]).collect();
            put_floats(sink, &stored)
        }
        None => Err(refused(&tensor.name, "GGUF", "no module has this tensor")),
    }
}

/// The contents of a declared tensor.
enum Item {
    Values(Vec<f32>),
    Weight(Slot, Encoding, Form),
    Bias(Slot, Form),
}

fn own_encoding(stored: StoredEncoding, name: &str) -> Result<Encoding, ModelError> {
    match stored {
        StoredEncoding::Blocks(encoding) if encoding.ggml_id().is_some() => Ok(encoding),
        StoredEncoding::Blocks(encoding) => Err(refused(name, "GGUF", format!("GGUF has no type for {encoding}"))),
        StoredEncoding::Groups { bits, group_size, .. } => {
            Err(refused(name, "GGUF", format!("GGUF has no type for groups of {group_size} values of {bits} bits")))
        }
    }
}

fn put_floats(sink: &mut TensorSink<'_>, values: &[f32]) -> Result<(), ModelError> {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    Ok(sink.write(&bytes)?)
}

fn put_weight(
    sink: &mut TensorSink<'_>,
    weight: &WeightData,
    tensor: &str,
    encoding: Encoding,
    form: Form,
) -> Result<(), ModelError> {
    let rows = weight.rows();
    let exact = match weight {
        WeightData::Blocks(matrix) if matrix.encoding == encoding => return put_rows(sink, matrix, form),
        WeightData::Blocks(_) => false,
        WeightData::Groups(_) => true,
    };
    let failed = |source| ModelError::Weight { file: "export".to_owned(), tensor: tensor.to_owned(), source };
    let mut bytes = vec![0; encoding.row_bytes(weight.cols()).map_err(failed)?];
    let (mut values, mut again) = (vec![0.0; weight.cols()], vec![0.0; weight.cols()]);
    for row in 0..rows {
        let row = form.stored_row(row, rows);
        weight.dequantize_row(row, &mut values);
        encoding.quantize_row(&values, None, &mut bytes).map_err(|error| failed(error.at_row(row)))?;
        if exact {
            encoding.dequantize_row(&bytes, &mut again);
            if values != again {
                let problem = format!("{encoding} cannot hold its {} values exactly", weight.encoding_name());
                return Err(refused(tensor, "GGUF", problem));
            }
        }
        sink.write(&bytes)?;
    }
    Ok(())
}

fn put_rows(sink: &mut TensorSink<'_>, matrix: &BlockMatrix, form: Form) -> Result<(), ModelError> {
    if !form.reorders() {
        return Ok(sink.write(&matrix.bytes)?);
    }
    Ok(sink.write(&with_rows(matrix, |row| form.stored_row(row, matrix.rows)).bytes)?)
}
