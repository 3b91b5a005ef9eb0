//! The encodings of single tensors: llama.cpp's mixes by name, one encoding for all, and encodings by regular expression.

use std::collections::BTreeMap;

use honelm_blocks::Encoding;
use honelm_compress::{Mix, Recipe, Scheme, Target};
use honelm_model::{Checkpoint, Kind, Slot, Tree};
use regex_automata::Input;
use regex_automata::hybrid::dfa::DFA;
use regex_automata::nfa::thompson;

use crate::Error;

/// The largest size of a compiled regular expression in bytes.
const MOST_REGEX: usize = 8 << 20;

/// The name of an encoding or of one of llama.cpp's mixes of encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeName {
    /// An encoding of the linear modules; embedding and output layer get Q6_K or more.
    Encoding(Encoding),
    /// A mix.
    Mix(&'static Mix),
}

impl TypeName {
    /// Returns the mix or else the encoding of that name, in any case: `q2_k` is llama.cpp's mix, `q4_k` the encoding.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let encoding = || Encoding::from_name(name).filter(|e| e.ggml_id().is_some()).map(Self::Encoding);
        Mix::from_name(name).map(Self::Mix).or_else(encoding)
    }

    /// Returns the name for display.
    #[must_use]
    pub fn display_name(self) -> &'static str {
        match self {
            Self::Encoding(encoding) => encoding.display_name(),
            Self::Mix(mix) => mix.display_name,
        }
    }

    /// Returns the names of all mixes and encodings that GGUF has.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let encodings = Encoding::ALL.iter().filter(|e| e.ggml_id().is_some()).map(|e| e.name());
        let mixes = honelm_compress::MIXES.iter().map(|mix| mix.name);
        encodings.chain(mixes.filter(|name| Encoding::from_name(name).is_none()))
    }
}

/// An encoding for the tensors whose name a regular expression matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorType {
    /// The regular expression. It need not match the whole name.
    pattern: String,
    encoding: Encoding,
}

impl TensorType {
    /// Reads `REGEX=TYPE`. The type is the name of an encoding that GGUF has.
    ///
    /// # Errors
    /// A description of what is wrong, and of what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected REGEX=TYPE, such as ffn_down=q6_k";
        let (pattern, name) = text.rsplit_once('=').ok_or(expected)?;
        if pattern.is_empty() {
            return Err(expected.to_owned());
        }
        let known = |e: &Encoding| e.ggml_id().is_some();
        let encoding = Encoding::from_name(name.trim()).filter(known);
        let encoding = encoding.ok_or_else(|| format!("unknown type '{name}': {expected}"))?;
        let found = Self { pattern: pattern.to_owned(), encoding };
        found.automaton()?;
        Ok(found)
    }

    fn automaton(&self) -> Result<DFA, String> {
        let limit = thompson::Config::new().nfa_size_limit(Some(MOST_REGEX));
        let config = DFA::config().skip_cache_capacity_check(true);
        let built = DFA::builder().thompson(limit).configure(config).build(&self.pattern);
        built.map_err(|error| format!("the regular expression '{}': {error}", self.pattern))
    }
}

/// Rules about the encodings of single tensors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeRules {
    /// `true` to give every matrix the same encoding, embedding and output layer too.
    pub pure: bool,
    /// Encodings by name; the first one that matches counts. They precede everything else.
    pub tensor_types: Vec<TensorType>,
}

impl TypeRules {
    /// Returns `true` if there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the scheme of an encoding or a mix under these rules. `weighted` is [`Mix::scheme`]'s.
    ///
    /// # Errors
    /// [`Error::Usage`] for a rule that no matrix matches.
    pub(crate) fn scheme(&self, name: TypeName, tree: &Tree, recipe: Recipe, weighted: bool) -> Result<Scheme, Error> {
        let scheme = match (name, self.pure) {
            (TypeName::Encoding(encoding), true) => Scheme::pure(encoding, recipe),
            (TypeName::Encoding(encoding), false) => Scheme::gguf(encoding, recipe),
            (TypeName::Mix(mix), true) => Scheme { file_type: Some(mix.file_type), ..Scheme::pure(mix.base, recipe) },
            (TypeName::Mix(mix), false) => mix.scheme(tree, recipe, weighted),
        };
        self.applied(scheme, tree)
    }

    /// Returns `scheme` with the encodings that are given by name.
    ///
    /// # Errors
    /// As [`TypeRules::scheme`].
    pub(crate) fn applied(&self, mut scheme: Scheme, tree: &Tree) -> Result<Scheme, Error> {
        scheme.overrides.extend(self.overrides(tree)?.into_iter().map(|(slot, e)| (slot, Target::Block(e))));
        Ok(scheme)
    }

    /// Returns the matrices whose encodings are given by name.
    ///
    /// # Errors
    /// As [`TypeRules::scheme`].
    pub(crate) fn overrides(&self, tree: &Tree) -> Result<BTreeMap<Slot, Encoding>, Error> {
        let names: Vec<(Slot, Vec<String>)> = matrices(tree).map(|slot| (slot, names(tree, slot))).collect();
        let mut found = BTreeMap::new();
        for rule in &self.tensor_types {
            let usage = |problem: String| Error::Usage(format!("--tensor-type: {problem}"));
            let automaton = rule.automaton().map_err(usage)?;
            let mut cache = automaton.create_cache();
            let mut matches = |name: &String| {
                let hit = automaton.try_search_fwd(&mut cache, &Input::new(name));
                hit.map(|hit| hit.is_some()).map_err(|error| usage(error.to_string()))
            };
            let mut any = false;
            for (slot, names) in &names {
                let mut hit = false;
                for name in names {
                    hit |= matches(name)?;
                }
                if hit {
                    any = true;
                    found.entry(*slot).or_insert(rule.encoding);
                }
            }
            if !any {
                let example = names.last().map(|(_, names)| names.join(" and ")).unwrap_or_default();
                let pattern = &rule.pattern;
                return Err(usage(format!(
                    "'{pattern}' matches the name of no matrix; a matrix of this model has the name {example}"
                )));
            }
        }
        Ok(found)
    }
}

/// Returns the matrices of a model: everything but norms and tables of positions.
pub(crate) fn matrices(tree: &Tree) -> impl Iterator<Item = Slot> {
    tree.slots()
        .filter(|&slot| tree.module(slot).is_some_and(|module| matches!(module.kind, Kind::Embedding | Kind::Linear)))
}

/// Returns the names of a matrix in GGUF and in a Hugging Face folder.
fn names(tree: &Tree, slot: Slot) -> Vec<String> {
    let names = [tree.gguf_name(slot), tree.hf_name(slot)];
    names.into_iter().flatten().map(|name| format!("{name}.weight")).collect()
}

/// Returns the name of a matrix in GGUF: `blk.0.attn_q.weight`.
pub(crate) fn gguf_tensor(tree: &Tree, slot: Slot) -> String {
    format!("{}.weight", tree.gguf_name(slot).unwrap_or_default())
}

/// Returns the encoding of every matrix that `scheme` makes, by its name in GGUF or in a Hugging Face folder.
pub(crate) fn tensor_types(checkpoint: &Checkpoint, scheme: &Scheme, is_gguf: bool) -> BTreeMap<String, String> {
    let tree = checkpoint.tree();
    let entry = |(slot, target): (Slot, Target)| {
        let name = match is_gguf {
            true => gguf_tensor(tree, slot),
            false => format!("{}.weight", tree.hf_name(slot).unwrap_or_default()),
        };
        let shown = match (target, checkpoint.encoding(slot)) {
            (Target::Keep, Ok(stored)) => Target::from(stored).to_string(),
            (target, _) => target.to_string(),
        };
        (name, shown)
    };
    scheme.targets(tree).into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Checkpoint::synthetic("llama-3.2-1b", Encoding::F16, 1).expect("a shape").tree().clone()
    }

    fn rules(texts: &[&str]) -> TypeRules {
        let parse = |text: &&str| TensorType::parse(text).expect("valid");
        TypeRules { pure: false, tensor_types: texts.iter().map(parse).collect() }
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_both_names_match() {
        let tree = tree();
        let found = rules(&[r"blk\.[0-3]\.ffn_down=q8_0", "ffn_down=Q6_K", r"layers\.0\.self_attn\.[qk]_proj=f16"]);
        let found = found.overrides(&tree).expect("matches");
        let of = |layer, module| found.get(&Slot { layer: Some(layer), module }).copied();
        assert_eq!((of(3, "down"), of(4, "down")), (Some(Encoding::Q8_0), Some(Encoding::Q6K)));
        assert_eq!(
            (of(0, "q"), of(0, "k"), of(0, "v"), of(1, "q")),
            (Some(Encoding::F16), Some(Encoding::F16), None, None)
        );
        let scheme = rules(&["^token_embd=q4_0"]).scheme(
            TypeName::from_name("q2_k").expect("a mix"),
            &tree,
            Recipe::rtn(),
            true,
        );
        let scheme = scheme.expect("a scheme");
        assert_eq!(scheme.targets(&tree)[&Slot { layer: None, module: "embed" }], Target::Block(Encoding::Q4_0));
        assert_eq!(scheme.file_type, Some(10));
    }

    #[test]
    fn a_rule_that_matches_nothing_is_an_error_that_shows_a_name() {
        for text in ["attn_x=q8_0", "^q_proj=q8_0", "norm=q8_0"] {
            let error = rules(&[text]).overrides(&tree()).expect_err(text).to_string();
            assert!(error.contains("matches the name of no matrix") && error.contains("blk.15."), "{error}");
        }
    }

    #[test]
    fn malformed_rules_say_what_is_expected() {
        for (text, part) in [
            ("q8_0", "expected REGEX=TYPE"),
            ("=q8_0", "expected REGEX=TYPE"),
            ("a=q9", "unknown type 'q9'"),
            ("a=fp8", "unknown type 'fp8'"),
            ("(=q8_0", "the regular expression '('"),
        ] {
            let error = TensorType::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(TensorType::parse("a=b=q8_0").is_ok());
    }

    #[test]
    fn pure_gives_every_matrix_the_encoding() {
        let tree = tree();
        let rules = TypeRules { pure: true, ..TypeRules::default() };
        for name in ["q4_k", "q4_k_m"] {
            let name = TypeName::from_name(name).expect("known");
            let scheme = rules.scheme(name, &tree, Recipe::rtn(), false).expect("a scheme");
            assert!(scheme.targets(&tree).values().all(|target| *target == Target::Block(Encoding::Q4K)));
        }
    }

    #[test]
    fn every_name_is_known_once() {
        let names: Vec<&str> = TypeName::names().collect();
        assert!(names.iter().all(|name| TypeName::from_name(name).is_some()));
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
    }
}
