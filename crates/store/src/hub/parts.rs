//! File names: parts of models, quants of GGUF models, pickles.

use std::collections::{BTreeMap, HashMap};

/// One part of a model: `PREFIX-00001-of-00003.ENDING`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    /// The path without the numbers and the ending.
    pub prefix: &'a str,
    /// The number of the part, from 1.
    pub number: usize,
    /// The number of parts.
    pub count: usize,
}

/// Reads the part from a path without its ending. A model in one file is part 1 of 1.
pub(crate) fn part(stem: &str) -> Part<'_> {
    let whole = Part { prefix: stem, number: 1, count: 1 };
    let numbers = |text: &str| {
        let digits = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<usize>().ok()).flatten()
    };
    let split = stem.rsplit_once("-of-").and_then(|(rest, count)| {
        let (prefix, number) = rest.rsplit_once('-')?;
        Some(Part { prefix, number: numbers(number)?, count: numbers(count)? })
    });
    split.filter(|p| (1..=p.count).contains(&p.number)).unwrap_or(whole)
}

/// Returns the number of the first missing part.
pub(crate) fn missing_part(count: usize, mut there: Vec<usize>) -> Option<usize> {
    there.sort_unstable();
    there.dedup();
    (1..=count).find(|number| there.binary_search(number).is_err())
}

/// A GGUF model in one file or in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GgufModel {
    /// The name by which users choose it: the quant if that is unique, else the path without numbers and ending.
    pub label: String,
    /// The path without numbers and ending.
    pub prefix: String,
    /// The files in order.
    pub paths: Vec<String>,
    /// The size of all files in bytes, without those of unknown size.
    pub bytes: u64,
    /// The number of parts of a complete model.
    pub count: usize,
    /// The number of the first missing part.
    pub missing: Option<usize>,
}

/// The files of one model found so far.
#[derive(Default)]
struct Found<'a> {
    /// The numbers of the parts and their paths.
    files: Vec<(usize, &'a str)>,
    bytes: u64,
}

/// Returns the GGUF models among files, given by path and length, the smallest first. Vision projectors and importance
/// matrices are not models.
pub(crate) fn gguf_models<'a>(files: impl Iterator<Item = (&'a str, u64)>) -> Vec<GgufModel> {
    let mut found: BTreeMap<(&str, usize), Found<'a>> = BTreeMap::new();
    for (path, bytes) in files {
        let Some(part) = without_ending(path, ".gguf").map(part) else { continue };
        let name = file_name(part.prefix).to_ascii_lowercase();
        if name.contains("mmproj") || (name.contains("imatrix") && quant(&name).is_none()) {
            continue;
        }
        let model = found.entry((part.prefix, part.count)).or_default();
        model.files.push((part.number, path));
        model.bytes = model.bytes.saturating_add(bytes);
    }
    let mut uses: HashMap<String, usize> = HashMap::new();
    for (prefix, _) in found.keys() {
        *uses.entry(label(prefix).to_ascii_lowercase()).or_default() += 1;
    }
    let mut models: Vec<GgufModel> = Vec::with_capacity(found.len());
    for ((prefix, count), Found { mut files, bytes }) in found {
        files.sort_unstable();
        let own = label(prefix);
        let alone = uses.get(&own.to_ascii_lowercase()) == Some(&1);
        models.push(GgufModel {
            label: if alone { own } else { prefix.to_owned() },
            prefix: prefix.to_owned(),
            missing: missing_part(count, files.iter().map(|(number, _)| *number).collect()),
            paths: files.into_iter().map(|(_, path)| path.to_owned()).collect(),
            bytes,
            count,
        });
    }
    models.sort_by(|a, b| a.bytes.cmp(&b.bytes).then_with(|| a.label.cmp(&b.label)));
    models
}

impl GgufModel {
    /// Returns `true` if `wanted` is the label, the quant, the name or a file of this model.
    pub fn is_meant(&self, wanted: &str) -> bool {
        let same = |text: &str| text.eq_ignore_ascii_case(wanted);
        same(&self.label)
            || same(&label(&self.prefix))
            || quant(file_name(&self.prefix)).is_some_and(|(q, _)| same(q))
            || same(&self.prefix)
            || same(file_name(&self.prefix))
            || self.paths.iter().any(|path| same(path) || same(file_name(path)))
    }
}

/// Returns the quant in a name (`Q4_K_M` in `tiny-UD-Q4_K_M-v2`), and the rest of the name from the quant, or from the
/// `UD-` before it, to its end.
fn quant(name: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    let mut before = "";
    let mut found = None;
    for word in name.split_inclusive(['-', '.']) {
        let text = word.trim_end_matches(['-', '.']);
        if is_quant(text) {
            let from = if before.eq_ignore_ascii_case("UD-") { at - before.len() } else { at };
            found = Some((text, &name[from..]));
        }
        before = word;
        at += word.len();
    }
    found
}

/// Returns `true` if a word is the name of an encoding as publishers of GGUF files write it.
fn is_quant(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    let digit = |text: &str| text.bytes().next().is_some_and(|b| b.is_ascii_digit());
    matches!(word.as_str(), "F16" | "F32" | "BF16" | "FP16" | "FP32" | "NVFP4")
        || word.starts_with("MXFP4")
        || ["IQ", "TQ", "Q"].iter().any(|start| word.strip_prefix(start).is_some_and(digit))
}

fn label(prefix: &str) -> String {
    let name = file_name(prefix);
    quant(name).map_or(name, |(_, rest)| rest).to_owned()
}

/// Returns the last part of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns `path` without `ending`, which is compared without regard to case.
pub(crate) fn without_ending<'a>(path: &'a str, ending: &str) -> Option<&'a str> {
    let at = path.len().checked_sub(ending.len())?;
    path.get(at..).filter(|end| end.eq_ignore_ascii_case(ending)).and_then(|_| path.get(..at))
}

/// Returns `true` if the file may be a Python pickle, as `torch.save`, `pickle` and `joblib` write it. Loading a pickle can
/// run code in it.
pub(crate) fn is_pickle(path: &str) -> bool {
    const ENDINGS: [&str; 9] = ["bin", "pt", "pth", "pt2", "ckpt", "pkl", "pickle", "joblib", "dill"];
    file_name(path).rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.iter().any(|e| e.eq_ignore_ascii_case(ending)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_recognised_by_their_numbers() {
        assert_eq!(part("dir/m-00002-of-00003"), Part { prefix: "dir/m", number: 2, count: 3 });
        for whole in ["m", "m-of-", "m-2-of-3", "m-00004-of-00003", "m-00000-of-00003", "-of-00001", "m-0000x-of-00003"]
        {
            assert_eq!(part(whole), Part { prefix: whole, number: 1, count: 1 }, "{whole}");
        }
        assert_eq!(missing_part(3, vec![3, 1]), Some(2));
        assert_eq!(missing_part(2, vec![2, 1, 2]), None);
    }

    #[test]
    fn models_are_labelled_by_their_quants() {
        let names = [
            ("tiny-Q4_K_M.gguf", "Q4_K_M"),
            ("tiny.q8_0.gguf", "q8_0"),
            ("qwen2-0_5b-instruct-fp16.gguf", "fp16"),
            ("Tiny-UD-IQ3_XXS.gguf", "UD-IQ3_XXS"),
            ("Tiny-Q5_K_S-imat.gguf", "Q5_K_S-imat"),
            ("Q6_K/Tiny-Q6_K-00001-of-00002.gguf", "Q6_K"),
            ("gpt-MXFP4_MOE.gguf", "MXFP4_MOE"),
            ("Qwen-model.gguf", "Qwen-model"),
        ];
        let models = gguf_models(names.iter().map(|(path, _)| (*path, 1)));
        assert_eq!(models.len(), names.len());
        for (path, label) in names {
            let model = models.iter().find(|m| m.paths[0] == path).expect(path);
            assert_eq!(model.label, label);
            for wanted in [label.to_ascii_lowercase(), path.to_owned()] {
                assert_eq!(models.iter().filter(|m| m.is_meant(&wanted)).count(), 1, "{wanted}");
            }
        }
        let ud = models.iter().find(|m| m.label.starts_with("UD")).expect("there");
        assert!(ud.is_meant("IQ3_XXS") && !ud.is_meant("IQ3"));
    }

    #[test]
    fn parts_form_one_model_and_companions_none() {
        let files = [
            ("m-Q8_0-00002-of-00002.gguf", 5),
            ("m-Q8_0-00001-of-00002.gguf", 7),
            ("mmproj-m-f16.gguf", 1),
            ("m.imatrix.gguf", 1),
            ("a-Q4_0.gguf", 2),
            ("b-Q4_0.gguf", 3),
            ("config.json", 1),
            ("lone-F16-00001-of-00002.gguf", 9),
        ];
        let models = gguf_models(files.iter().map(|&(path, bytes)| (path, bytes)));
        let told: Vec<_> = models.iter().map(|m| (m.label.as_str(), m.bytes, m.missing)).collect();
        assert_eq!(told, [("a-Q4_0", 2, None), ("b-Q4_0", 3, None), ("F16", 9, Some(2)), ("Q8_0", 12, None)]);
        assert_eq!(models[3].paths, ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"]);
        assert_eq!(models.iter().filter(|m| m.is_meant("Q4_0")).count(), 2);
    }

    #[test]
    fn pickles_are_recognised_by_their_endings() {
        for path in ["pytorch_model.bin", "a/b.PT", "x.pth", "x.ckpt", "optimizer.pkl", "v1.0.bin"] {
            assert!(is_pickle(path), "{path}");
        }
        for path in ["model.safetensors", "bin", "pt.json", "tokenizer.model", "a.bin/config.json"] {
            assert!(!is_pickle(path), "{path}");
        }
    }
}
