use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use honelm_blocks::{BlockError, BlockMatrix, WeightData};
use honelm_formats::gguf::Gguf;
use honelm_formats::quantized::{ModuleClass, ModuleShape, Packed, QuantizedFormat};
use honelm_formats::safetensors::Safetensors;
use honelm_formats::{ElementType, FormatError, TensorSource};

use super::StoredEncoding;
use crate::forms::Form;
use crate::{Kind, ModelError, Module, Parameter, Slot, Tree, gguf_config};

/// The tensors of a checkpoint, by the slots of its tree.
#[derive(Debug)]
pub(super) struct Source {
    files: Files,
    ignored: Vec<String>,
    /// The slots whose values have been found finite; values are checked once.
    finite: Mutex<HashSet<Slot>>,
}

#[derive(Debug)]
enum Files {
    /// A folder; `alias` is the one of [`Tree::hf_aliases`] that its names have.
    Folder {
        tensors: Box<Safetensors>,
        format: Option<Box<dyn QuantizedFormat>>,
        alias: Option<(&'static str, &'static str)>,
    },
    Gguf(Box<Gguf>),
}

impl Source {
    /// Takes the tensors of a folder and checks them against `tree`.
    pub(super) fn folder(
        tensors: Safetensors,
        format: Option<Box<dyn QuantizedFormat>>,
        tree: &Tree,
    ) -> Result<Self, ModelError> {
        let alias = alias(&tensors, tree);
        Self::new(Files::Folder { tensors: Box::new(tensors), format, alias }).checked(tree)
    }

    /// Takes the tensors of a GGUF file and checks them against `tree`.
    pub(super) fn gguf(gguf: Gguf, tree: &Tree) -> Result<Self, ModelError> {
        Self::new(Files::Gguf(Box::new(gguf))).checked(tree)
    }

    fn new(files: Files) -> Self {
        Self { files, ignored: Vec::new(), finite: Mutex::default() }
    }

    pub(super) fn as_gguf(&self) -> Option<&Gguf> {
        match &self.files {
            Files::Gguf(gguf) => Some(gguf),
            Files::Folder { .. } => None,
        }
    }

    /// Returns the format of the quantised modules, if there are any.
    pub(super) fn format(&self) -> Option<&dyn QuantizedFormat> {
        match &self.files {
            Files::Folder { format, .. } => format.as_deref(),
            Files::Gguf(_) => None,
        }
    }

    pub(super) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    pub(super) fn tensors(&self) -> &dyn TensorSource {
        match &self.files {
            Files::Folder { tensors, .. } => &**tensors,
            Files::Gguf(gguf) => &**gguf,
        }
    }

    /// Returns the module's name in this container, without suffix.
    fn name(&self, tree: &Tree, slot: Slot) -> Option<String> {
        match self.files {
            Files::Folder { alias, .. } => Some(renamed(&tree.hf_name(slot)?, alias)),
            Files::Gguf(_) => tree.gguf_name(slot),
        }
    }

    /// Returns the form in which this container stores a module.
    fn form(&self, module: &Module) -> Form {
        match self.files {
            Files::Folder { .. } => module.hf_form(),
            Files::Gguf(_) => module.gguf_form(),
        }
    }

    /// Returns the tensors of a quantised module; `None` if the module is one tensor `NAME.weight`.
    fn packed(&self, name: &str, module: &Module) -> Result<Option<Packed>, ModelError> {
        match (self.format(), shape_of(name, module)) {
            (Some(format), Some(shape)) => Ok(format.packed(self.tensors(), &shape)?),
            _ => Ok(None),
        }
    }

    /// Returns the name of the tensor of a module's weight. Older folders call the gain of a norm `gamma`, as TensorFlow does.
    fn weight_name(&self, name: &str, module: &Module) -> String {
        self.tensor_of(name, module, ["weight", "gamma"])
    }

    /// Returns the name of the tensor of a module's bias. Older folders call that of a norm `beta`.
    fn bias_name(&self, name: &str, module: &Module) -> String {
        self.tensor_of(name, module, ["bias", "beta"])
    }

    /// Returns a tensor's usual name, or the older one if a folder has a norm by that name alone.
    fn tensor_of(&self, name: &str, module: &Module, ends: [&str; 2]) -> String {
        let [usual, older] = ends.map(|end| format!("{name}.{end}"));
        let is_here = |tensor: &str| self.tensors().info(tensor).is_some();
        let may_be_older = module.kind == Kind::Norm && matches!(self.files, Files::Folder { .. });
        if may_be_older && !is_here(&usual) && is_here(&older) { older } else { usual }
    }

    pub(super) fn tensor_name(&self, tree: &Tree, slot: Slot) -> Option<String> {
        let (name, module) = (self.name(tree, slot)?, tree.module(slot)?);
        let packed = self.packed(&name, module).ok().flatten();
        let codes = packed.and_then(|packed| Some(packed.tensors.into_iter().next()?.name));
        Some(codes.unwrap_or_else(|| self.weight_name(&name, module)))
    }

    /// Returns the encoding of a weight without reading it.
    pub(super) fn encoding(&self, tree: &Tree, slot: Slot, module: &Module) -> Option<StoredEncoding> {
        let name = self.name(tree, slot)?;
        if let Some(packed) = self.packed(&name, module).ok()? {
            return Some(packed.form.into());
        }
        match &self.tensors().info(&self.weight_name(&name, module))?.element {
            ElementType::Weights(encoding) => Some(StoredEncoding::Blocks(*encoding)),
            ElementType::Integer(_) | ElementType::F8E4M3 | ElementType::Other(_) => None,
        }
    }

    /// Checks that the tensors of every module are present in the right shapes, and that no other tensor could change the
    /// model's results.
    fn checked(mut self, tree: &Tree) -> Result<Self, ModelError> {
        let mut used = HashSet::new();
        for slot in tree.slots() {
            let (Some(module), Some(name)) = (tree.module(slot), self.name(tree, slot)) else { continue };
            match self.packed(&name, module)? {
                None => self.check(self.weight_name(&name, module), &self.form(module).shape(module), &mut used)?,
                Some(packed) => {
                    packed.check(self.tensors())?;
                    used.extend(packed.tensors.into_iter().map(|tensor| tensor.name));
                }
            }
            if module.bias {
                self.check(self.bias_name(&name, module), &[module.bias_len()], &mut used)?;
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

    /// Returns a warning for each kind of contradiction between the settings and the tensors of quantised modules. If
    /// remote files are fetched in parts, only the first module is checked.
    pub(super) fn contradictions(&self, tree: &Tree) -> Result<Vec<String>, ModelError> {
        let Some(format) = self.format() else { return Ok(Vec::new()) };
        let mut found: Vec<(String, usize, String)> = Vec::new();
        let mut looked = false;
        for slot in tree.slots() {
            let (Some(module), Some(name)) = (tree.module(slot), self.name(tree, slot)) else { continue };
            let Some(shape) = shape_of(&name, module) else { continue };
            let told = match format.contradictions(self.tensors(), &shape) {
                Err(FormatError::NotFetched { .. }) if looked => continue,
                told => told?,
            };
            looked |= format.packed(self.tensors(), &shape)?.is_some();
            for text in told {
                match found.iter_mut().find(|(known, ..)| *known == text) {
                    Some((_, count, _)) => *count += 1,
                    None => found.push((text, 1, name.clone())),
                }
            }
        }
        Ok(found.into_iter().map(|(text, count, first)| format!("{text} (modules: {count}, first {first})")).collect())
    }

    fn check(&self, tensor: String, shape: &[usize], used: &mut HashSet<String>) -> Result<(), ModelError> {
        let source = self.tensors();
        let file = || source.file_of(&tensor).to_owned();
        let Some(info) = source.info(&tensor) else {
            return Err(ModelError::MissingTensor { file: file(), tensor, expected: shape.to_vec() });
        };
        // Older GGUF writers stored norms as [1, n].
        let stored = if shape.len() == 1 && info.shape.len() == 2 && info.shape[0] == 1 {
            &info.shape[1..]
        } else {
            &info.shape
        };
        if stored != shape {
            let (found, expected) = (info.shape.clone(), shape.to_vec());
            return Err(ModelError::WrongShape { file: file(), tensor, found, expected });
        }
        source.matrix_shape(&tensor)?;
        used.insert(tensor);
        Ok(())
    }

    /// Refuses a tensor that no module uses, unless it cannot change the model's results.
    fn check_extra(&self, tree: &Tree, name: &str) -> Result<(), ModelError> {
        let source = self.tensors();
        let refuse = |problem| {
            let file = source.file_of(name).to_owned();
            Err(ModelError::UnexpectedTensor { file, tensor: name.to_owned(), problem })
        };
        if gguf_config::is_configuration(name) || tree.hf_buffers.iter().any(|end| name.ends_with(end)) {
            return Ok(());
        }
        if name.ends_with(".bias") && !self.is_of_other_task(tree, name) {
            // Quantisers write a bias of zeros for modules that have none.
            let matrix = source.matrix(name)?;
            let mut values = vec![0.0; matrix.cols];
            let zeros = (0..matrix.rows).all(|r| {
                matrix.dequantize_row(r, &mut values);
                values.iter().all(|&x| x == 0.0)
            });
            return if zeros { Ok(()) } else { refuse("no such bias") };
        }
        let (output, layers) = match self.files {
            Files::Folder { alias, .. } => {
                (renamed("lm_head.weight", alias), format!("{}.", renamed(tree.hf_layers, alias)))
            }
            Files::Gguf(_) => ("output.weight".to_owned(), String::new()),
        };
        if name == output && tree.output.is_none() {
            let embedding = Slot { layer: None, module: tree.embedding().name };
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
            Files::Gguf(_) => refuse("no such module"),
            Files::Folder { .. } if name.starts_with(&layers) => refuse("no such module in its layers"),
            // Tensors outside of the layers, such as heads for other tasks, do not affect the language model.
            Files::Folder { .. } => Ok(()),
        }
    }

    /// Returns `true` if a tensor of a folder belongs to a head for another task, which does not affect the model.
    fn is_of_other_task(&self, tree: &Tree, name: &str) -> bool {
        let Files::Folder { alias, .. } = self.files else { return false };
        let layers = format!("{}.", renamed(tree.hf_layers, alias));
        let module = name.strip_suffix(".bias").unwrap_or(name);
        let is_own = |slot: Slot| self.name(tree, slot).as_deref() == Some(module);
        !name.starts_with(&layers) && module != renamed("lm_head", alias) && !tree.slots().any(is_own)
    }

    fn finite(&self) -> MutexGuard<'_, HashSet<Slot>> {
        self.finite.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the rows `rows` of a weight and checks that they are finite; `None` if the weight is not stored row by row in
    /// the form in which it is used.
    pub(super) fn rows(
        &self,
        tree: &Tree,
        slot: Slot,
        module: &Module,
        rows: Range<usize>,
    ) -> Result<Option<BlockMatrix>, ModelError> {
        let Some(name) = self.name(tree, slot) else { return Ok(None) };
        if module.bias || !self.form(module).is_plain() || self.packed(&name, module)?.is_some() {
            return Ok(None);
        }
        let (source, tensor) = (self.tensors(), self.weight_name(&name, module));
        let (first, matrix) = (rows.start, source.matrix_rows(&tensor, rows)?);
        if !self.finite().contains(&slot) {
            let at = |error: BlockError| {
                let file = source.file_of(&tensor).to_owned();
                ModelError::Weight { file, tensor: tensor.clone(), source: error.below(first) }
            };
            matrix.check_finite().map_err(at)?;
        }
        Ok(Some(matrix))
    }

    /// Reads the weight and the bias of a slot in canonical row order, and checks that they are finite.
    pub(super) fn parameter(&self, tree: &Tree, slot: Slot, module: &Module) -> Result<Parameter, ModelError> {
        let source = self.tensors();
        let unknown = || ModelError::UnknownSlot { layer: slot.layer, module: slot.module.to_owned() };
        let name = self.name(tree, slot).ok_or_else(unknown)?;
        let at = |tensor: String| {
            move |error| ModelError::Weight { file: source.file_of(&tensor).to_owned(), tensor, source: error }
        };
        let form = self.form(module);
        let weight = match (self.packed(&name, module)?, self.format(), shape_of(&name, module)) {
            (Some(_), Some(format), Some(shape)) => format.decode(source, &shape)?,
            _ => {
                let tensor = self.weight_name(&name, module);
                WeightData::Blocks(form.canonical(source.matrix(&tensor)?).map_err(at(tensor))?)
            }
        };
        let finite = self.finite().contains(&slot);
        if !finite {
            weight.check_finite().map_err(at(self.tensor_name(tree, slot).unwrap_or(name.clone())))?;
        }
        if !module.bias {
            self.finite().insert(slot);
            return Ok(Parameter { weight, bias: None });
        }
        let tensor = self.bias_name(&name, module);
        let stored = source.matrix(&tensor)?;
        if stored.cols != module.bias_len() {
            let (file, found) = (source.file_of(&tensor).to_owned(), vec![stored.cols]);
            return Err(ModelError::WrongShape { file, tensor, found, expected: vec![module.bias_len()] });
        }
        if !finite {
            stored.check_finite().map_err(at(tensor))?;
            self.finite().insert(slot);
        }
        let mut values = vec![0.0; stored.cols];
        stored.dequantize_row(0, &mut values);
        let bias = (0..values.len()).map(|row| values[form.canonical_row(row, values.len())]).collect();
        Ok(Parameter { weight, bias: Some(bias) })
    }
}

/// Returns the first alias with which the embedding is found, unless it has its usual name.
fn alias(tensors: &Safetensors, tree: &Tree) -> Option<(&'static str, &'static str)> {
    let name = format!("{}.weight", tree.embedding().hf);
    let found = |alias: &&(&'static str, &'static str)| tensors.contains(&renamed(&name, Some(**alias)));
    if tensors.contains(&name) { None } else { tree.hf_aliases.iter().find(found).copied() }
}

/// Returns `name` with the prefix of an alias.
fn renamed(name: &str, alias: Option<(&'static str, &'static str)>) -> String {
    let other = alias.and_then(|(ours, theirs)| Some(format!("{theirs}{}", name.strip_prefix(ours)?)));
    other.unwrap_or_else(|| name.to_owned())
}

/// Returns the name and shape of a module that can be quantised; `None` for other modules.
fn shape_of<'a>(name: &'a str, module: &Module) -> Option<ModuleShape<'a>> {
    let class = match module.kind {
        Kind::Linear => ModuleClass::Linear,
        Kind::Embedding => ModuleClass::Embedding,
        Kind::Norm | Kind::Positions | Kind::TokenTypes => return None,
    };
    Some(ModuleShape { name, class, rows: module.shape[0], cols: module.shape[1] })
}
