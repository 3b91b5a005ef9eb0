use std::collections::HashSet;

use honelm_blocks::{BlockMatrix, ScaleType, WeightData};
use honelm_formats::gguf::Gguf;
use honelm_formats::gptq::{self, QuantizeConfig};
use honelm_formats::safetensors::Safetensors;
use honelm_formats::{ElementType, TensorSource};

use super::StoredEncoding;
use crate::{Kind, ModelError, Module, Parameter, RowOrder, Slot, Tree, gguf_config};

/// A checkpoint's tensors by the slots of its tree.
#[derive(Debug)]
pub(super) struct Source {
    files: Files,
    ignored: Vec<String>,
}

#[derive(Debug)]
enum Files {
    Folder { tensors: Box<Safetensors>, quantized: Option<QuantizeConfig> },
    Gguf(Box<Gguf>),
}

/// The tensors of a weight.
enum Layout {
    /// One tensor `NAME.weight`.
    Plain,
    /// GPTQ's four tensors.
    Gptq,
}

impl Source {
    /// The tensors of a folder, checked against `tree`.
    pub(super) fn folder(
        tensors: Safetensors,
        quantized: Option<QuantizeConfig>,
        tree: &Tree,
    ) -> Result<Self, ModelError> {
        Self { files: Files::Folder { tensors: Box::new(tensors), quantized }, ignored: Vec::new() }.checked(tree)
    }

    /// The tensors of a GGUF file, checked against `tree`.
    pub(super) fn gguf(gguf: Gguf, tree: &Tree) -> Result<Self, ModelError> {
        Self { files: Files::Gguf(Box::new(gguf)), ignored: Vec::new() }.checked(tree)
    }

    pub(super) fn as_gguf(&self) -> Option<&Gguf> {
        match &self.files {
            Files::Gguf(gguf) => Some(gguf),
            Files::Folder { .. } => None,
        }
    }

    pub(super) fn quantize_config(&self) -> Option<&QuantizeConfig> {
        match &self.files {
            Files::Folder { quantized, .. } => quantized.as_ref(),
            Files::Gguf(_) => None,
        }
    }

    pub(super) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    fn tensors(&self) -> &dyn TensorSource {
        match &self.files {
            Files::Folder { tensors, .. } => &**tensors,
            Files::Gguf(gguf) => &**gguf,
        }
    }

    /// The module's name in this container, without suffix.
    fn name(&self, tree: &Tree, slot: Slot) -> Option<String> {
        match self.files {
            Files::Folder { .. } => tree.hf_name(slot),
            Files::Gguf(_) => tree.gguf_name(slot),
        }
    }

    fn layout(&self, name: &str, module: &Module) -> Layout {
        let linear = matches!(module.kind, Kind::Linear { .. });
        if linear && self.quantize_config().is_some() && gptq::is_quantized(self.tensors(), name) {
            Layout::Gptq
        } else {
            Layout::Plain
        }
    }

    pub(super) fn tensor_name(&self, tree: &Tree, slot: Slot) -> Option<String> {
        let name = self.name(tree, slot)?;
        let suffix = match self.layout(&name, tree.module(slot)?) {
            Layout::Plain => "weight",
            Layout::Gptq => "qweight",
        };
        Some(format!("{name}.{suffix}"))
    }

    /// How a slot's weight is encoded, without reading it.
    pub(super) fn encoding(&self, tree: &Tree, slot: Slot, module: &Module) -> Option<StoredEncoding> {
        let name = self.name(tree, slot)?;
        match (self.layout(&name, module), self.quantize_config()) {
            (Layout::Gptq, Some(config)) => Some(StoredEncoding::Groups {
                bits: config.bits,
                group_size: config.group_size.unwrap_or(module.shape[1]),
                symmetric: config.sym,
            }),
            _ => match &self.tensors().info(&format!("{name}.weight"))?.element {
                ElementType::Weights(encoding) => Some(StoredEncoding::Blocks(*encoding)),
                ElementType::Integer(_) | ElementType::Other(_) => None,
            },
        }
    }

    /// Checks that every module's tensors are there in the right shape, and that no other tensor could
    /// change the result.
    fn checked(mut self, tree: &Tree) -> Result<Self, ModelError> {
        let mut used = HashSet::new();
        for slot in tree.slots() {
            let (Some(module), Some(name)) = (tree.module(slot), self.name(tree, slot)) else { continue };
            match self.layout(&name, module) {
                Layout::Plain => self.check(format!("{name}.weight"), module.stored_shape(), &mut used)?,
                Layout::Gptq => self.check_gptq(&name, module, &mut used)?,
            }
            if module.has_bias() {
                self.check(format!("{name}.bias"), &module.shape[..1], &mut used)?;
            }
        }
        let extra: Vec<String> =
            self.tensors().names().into_iter().filter(|name| !used.contains(*name)).map(str::to_owned).collect();
        for name in &extra {
            self.check_extra(tree, name)?;
        }
        self.ignored = extra;
        self.ignored.retain(|name| !gguf_config::is_configuration(name));
        Ok(self)
    }

    fn check(&self, tensor: String, shape: &[usize], used: &mut HashSet<String>) -> Result<(), ModelError> {
        let source = self.tensors();
        let file = || source.file_of(&tensor).to_owned();
        let Some(info) = source.info(&tensor) else {
            return Err(ModelError::MissingTensor { file: file(), tensor, expected: shape.to_vec() });
        };
        // Older GGUF writers kept norms as [1, n].
        let stored = if shape.len() == 1 && info.shape.len() == 2 && info.shape[0] == 1 {
            &info.shape[1..]
        } else {
            &info.shape
        };
        if stored != shape {
            let (found, expected) = (info.shape.clone(), shape.to_vec());
            return Err(ModelError::WrongShape { file: file(), tensor, found, expected });
        }
        source.matrix(&tensor)?;
        used.insert(tensor);
        Ok(())
    }

    fn check_gptq(&self, name: &str, module: &Module, used: &mut HashSet<String>) -> Result<(), ModelError> {
        let (source, [rows, cols]) = (self.tensors(), module.shape);
        let Some(config) = self.quantize_config() else { return Ok(()) };
        for expected in gptq::layout(name, (rows, cols), config, ScaleType::F16)? {
            let (tensor, expected) = (expected.name, expected.shape);
            match source.info(&tensor) {
                None if tensor.ends_with(".g_idx") => continue,
                None => {
                    return Err(ModelError::MissingTensor { file: source.file_of(name).to_owned(), tensor, expected });
                }
                Some(info) if info.shape != expected => {
                    let (file, found) = (source.file_of(&tensor).to_owned(), info.shape.clone());
                    return Err(ModelError::WrongShape { file, tensor, found, expected });
                }
                Some(_) => used.insert(tensor),
            };
        }
        Ok(())
    }

    /// Refuses a tensor that no module uses unless it cannot change the result.
    fn check_extra(&self, tree: &Tree, name: &str) -> Result<(), ModelError> {
        let source = self.tensors();
        let refuse = |problem| {
            let file = source.file_of(name).to_owned();
            Err(ModelError::UnexpectedTensor { file, tensor: name.to_owned(), problem })
        };
        if gguf_config::is_configuration(name) || name.ends_with("rotary_emb.inv_freq") {
            return Ok(());
        }
        if name.ends_with(".bias") {
            // Quantisers write a bias of zeros for layers that have none.
            let matrix = source.matrix(name)?;
            let mut values = vec![0.0; matrix.cols];
            let zeros = (0..matrix.rows).all(|r| {
                matrix.dequantize_row(r, &mut values);
                values.iter().all(|&x| x == 0.0)
            });
            return if zeros { Ok(()) } else { refuse("it has no bias there") };
        }
        let output = match self.files {
            Files::Folder { .. } => "lm_head.weight",
            Files::Gguf(_) => "output.weight",
        };
        if name == output && tree.output.is_none() {
            let embedding = Slot { block: None, module: tree.embedding.name };
            let embedding = self.name(tree, embedding).map(|name| source.get(&format!("{name}.weight"))).transpose()?;
            let own = source.get(name)?;
            return match embedding {
                Some(tied) if tied.bytes == own.bytes && tied.element == own.element => Ok(()),
                _ => Err(ModelError::TiedOutputDiffers {
                    file: source.file_of(name).to_owned(),
                    tensor: name.to_owned(),
                }),
            };
        }
        match self.files {
            Files::Gguf(_) => refuse("no module has it"),
            Files::Folder { .. } if name.starts_with(tree.hf_blocks) => refuse("no module of a block has it"),
            // Heads for other tasks and the like: the language model does not read them.
            Files::Folder { .. } => Ok(()),
        }
    }

    /// The weight and bias of a slot, finite and in canonical row order.
    pub(super) fn parameter(&self, tree: &Tree, slot: Slot, module: &Module) -> Result<Parameter, ModelError> {
        let source = self.tensors();
        let unknown = || ModelError::UnknownSlot { block: slot.block, module: slot.module.to_owned() };
        let name = self.name(tree, slot).ok_or_else(unknown)?;
        let weight = match (self.layout(&name, module), self.quantize_config()) {
            (Layout::Gptq, Some(config)) => {
                WeightData::Groups(gptq::decode(source, &name, (module.shape[0], module.shape[1]), config)?)
            }
            _ => WeightData::Blocks(self.canonical(source.matrix(&format!("{name}.weight"))?, module.gguf_rows)),
        };
        let at = |tensor: String| {
            move |error| ModelError::Weight { file: source.file_of(&tensor).to_owned(), tensor, source: error }
        };
        weight.check_finite().map_err(at(format!("{name}.weight")))?;
        if !module.has_bias() {
            return Ok(Parameter { weight, bias: None });
        }
        let tensor = format!("{name}.bias");
        let stored = source.matrix(&tensor)?;
        if stored.cols != module.shape[0] {
            let (file, found) = (source.file_of(&tensor).to_owned(), vec![stored.cols]);
            return Err(ModelError::WrongShape { file, tensor, found, expected: vec![module.shape[0]] });
        }
        stored.check_finite().map_err(at(tensor))?;
        let mut values = vec![0.0; stored.cols];
        stored.dequantize_row(0, &mut values);
        let order = self.order(module.gguf_rows);
        let bias = (0..values.len()).map(|row| values[order.container_row(row, values.len())]).collect();
        Ok(Parameter { weight, bias: Some(bias) })
    }

    /// The row order of this container.
    fn order(&self, gguf_rows: RowOrder) -> RowOrder {
        match self.files {
            Files::Folder { .. } => RowOrder::Same,
            Files::Gguf(_) => gguf_rows,
        }
    }

    fn canonical(&self, stored: BlockMatrix, gguf_rows: RowOrder) -> BlockMatrix {
        let rows = stored.rows;
        match self.order(gguf_rows) {
            RowOrder::Same => stored,
            order => with_rows(&stored, |row| order.container_row(row, rows)),
        }
    }
}

/// The matrix whose row `r` is row `from(r)` of `matrix`.
pub(crate) fn with_rows(matrix: &BlockMatrix, from: impl Fn(usize) -> usize) -> BlockMatrix {
    let mut bytes = Vec::with_capacity(matrix.bytes.len());
    for row in 0..matrix.rows {
        bytes.extend_from_slice(matrix.row(from(row)));
    }
    BlockMatrix { bytes: bytes.into(), ..matrix.clone() }
}
