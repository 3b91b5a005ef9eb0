//! The table of pre-tokenizers.
//!
//! The names and their expressions are those of llama.cpp's `llama_vocab` (`llm_tokenizer_bpe`), with NFC if the
//! models' own tokenizer.json has it. llama.cpp's `whitespace` and `hybriddna`, of text and DNA encoders, are not
//! included: their tokens neither represent bytes nor keep white space.

/// A step of splitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Splits into the matches of an expression and the parts between them.
    Expression(&'static str),
    /// Splits off every digit.
    Digits,
    /// GPT-2's expression, which is part of the byte-level step. It can only be the last step.
    Gpt2,
}

/// A pre-tokenizer and its names in GGUF.
#[derive(Debug)]
pub(crate) struct PreTokenizer {
    /// The values of `tokenizer.ggml.pre`. The first one is written.
    pub names: &'static [&'static str],
    /// The steps, in order.
    pub steps: &'static [Step],
    /// `true` if text is first normalised to NFC.
    pub nfc: bool,
    /// `true` if a piece that is a token is used without merging.
    pub ignore_merges: bool,
    /// `true` if BOS is added unless the file says otherwise.
    pub add_bos: bool,
    /// `true` if pieces are UTF-8 with `▁` for spaces and `<0xHH>` for other bytes, as in SentencePiece, rather than in
    /// GPT-2's byte alphabet.
    pub visible_spaces: bool,
}

/// GPT-2's expression.
pub(crate) const GPT2: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Jais 2: Llama 3's, with white space split at powers of two.
const JAIS2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
/// MiniCPM 5: Llama 3's, after a step that has split numbers.
const MINICPM5: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2: single digits.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 3.5: combining marks belong to words.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Ufakzeka: Qwen 2's without English contractions.
const UFAKZEKA: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Seed-Coder: newlines never follow punctuation.
const SEED_CODER: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Ling: a newline ends white space.
const BAILING: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
/// EXAONE mixture of experts: words joined by single spaces are one piece.
const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
/// Mistral's Tekken.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// GPT-4o, Llama 4.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Youtu: GPT-4o's with single digits, after a step for East Asian scripts.
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Kimi K2: GPT-4o's with Chinese separated from other letters.
const KIMI: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// DeepSeek-LLM: words of the alphabets with letter case. Characters that editors would normalise are escaped.
const DEEPSEEK_WORDS: &str = "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1F7D}ᾀ-ᾴᾶ-ᾼ\u{1FBE}ῂ-ῄῆ-ῌῐ-\u{1FD3}ῖ-\u{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
/// DeepSeek-V3: punctuation attached to a word, words, punctuation, white space.
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// Spark 2.5: DeepSeek-V3's with every newline a piece.
const SPARK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##;
/// Chinese and Japanese.
const HAN_KANA: &str = "[一-龥぀-ゟ゠-ヿ]+";
/// Chinese and Korean, as DeepSeek splits them.
const HAN_HANGUL: &str = "[一-龥ࠀ-一가-퟿]+";
/// The scripts that Trinity separates. Characters that editors would normalise are escaped.
const AFMOE_SCRIPTS: &str = "[一-鿿㐀-䶿\u{F900}-\u{FAFF}぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+";
/// Digits in groups of three from the right.
const THREES: &str = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))";
/// BLOOM: words up to the punctuation of many scripts.
const BLOOM: &str = " ?[^(\\s|.,!?…。，、।۔،)]+";
/// Falcon: runs of punctuation.
const FALCON_SIGNS: &str = r"[\p{P}\$\+<=>\^~\|`]+";
/// Falcon's, in the variant of llama.cpp's default.
const DEFAULT_SIGNS: &str = r"[\p{P}\$\+<=>\^~\|]+";
/// Three digits.
const THREE_DIGITS: &str = "[0-9][0-9][0-9]";
/// Lines and the newlines between them.
const LINES: &str = r"[^\n]+|[\n]+";

/// Makes a row with the default properties.
const fn row(names: &'static [&'static str], steps: &'static [Step]) -> PreTokenizer {
    PreTokenizer { names, steps, nfc: false, ignore_merges: false, add_bos: false, visible_spaces: false }
}

/// The rows.
pub(super) static PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer {
        ignore_merges: true,
        add_bos: true,
        ..row(
            &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
            &[Step::Expression(LLAMA3)],
        )
    },
    row(&["smaug-bpe", "dbrx", "chatglm-bpe"], &[Step::Expression(LLAMA3)]),
    PreTokenizer { ignore_merges: true, ..row(&["glm4", "glm5"], &[Step::Expression(LLAMA3)]) },
    row(&["jais-2"], &[Step::Expression(JAIS2)]),
    PreTokenizer {
        ignore_merges: true,
        ..row(&["minicpm5"], &[Step::Expression(r"\p{N}{1,3}"), Step::Expression(MINICPM5)])
    },
    row(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "exaone4",
            "modern-bert",
            "roberta-bpe",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-code",
            "jina-v2-de",
            "jina-v2-es",
        ],
        &[Step::Gpt2],
    ),
    row(
        &["smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[Step::Digits, Step::Gpt2],
    ),
    PreTokenizer { nfc: true, ..row(&["command-r"], &[Step::Digits, Step::Gpt2]) },
    PreTokenizer { nfc: true, ..row(&["qwen2", "f2llmv2"], &[Step::Expression(QWEN2)]) },
    row(
        &["deepseek-r1-qwen", "stablelm2", "hunyuan", "solar-open", "grok-2", "megrez", "kormo"],
        &[Step::Expression(QWEN2)],
    ),
    PreTokenizer { nfc: true, ..row(&["qwen35"], &[Step::Expression(QWEN35)]) },
    row(&["ufakzeka"], &[Step::Expression(UFAKZEKA)]),
    row(&["seed-coder"], &[Step::Expression(SEED_CODER)]),
    row(&["bailingmoe", "bailingmoe2", "llada-moe"], &[Step::Expression(BAILING)]),
    row(&["exaone-moe"], &[Step::Expression(EXAONE_MOE)]),
    row(&["laguna"], &[Step::Expression(LINES), Step::Expression(QWEN2)]),
    PreTokenizer { ignore_merges: true, add_bos: true, ..row(&["tekken"], &[Step::Expression(TEKKEN)]) },
    row(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[Step::Expression(GPT4O)]),
    PreTokenizer { ignore_merges: true, ..row(&["granite-embed-multi-97m"], &[Step::Expression(GPT4O)]) },
    row(&["tiny_aya", "cohere2moe"], &[Step::Expression(r"\d{1,3}(?=(?:\d{3})*\b)"), Step::Expression(GPT4O)]),
    PreTokenizer {
        ignore_merges: true,
        ..row(
            &["youtu"],
            &[
                Step::Expression("[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+"),
                Step::Expression(YOUTU),
            ],
        )
    },
    row(&["kimi-k2"], &[Step::Expression(KIMI)]),
    row(
        &["deepseek-llm"],
        &[
            Step::Expression(r"[\r\n]"),
            Step::Expression(DEEPSEEK_WORDS),
            Step::Expression(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            Step::Expression(r"\s+$"),
            Step::Expression(HAN_HANGUL),
            Step::Digits,
        ],
    ),
    row(
        &["deepseek-coder"],
        &[
            Step::Expression(r"[\r\n]"),
            Step::Expression(r"\s?\p{L}+"),
            Step::Expression(r"\s?\p{P}+"),
            Step::Expression(HAN_HANGUL),
            Step::Digits,
        ],
    ),
    row(
        &["deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"],
        &[Step::Expression(r"\p{N}{1,3}"), Step::Expression(HAN_KANA), Step::Expression(DEEPSEEK3)],
    ),
    row(
        &["spark2_5"],
        &[Step::Expression(r"\p{N}{1,3}"), Step::Expression(HAN_KANA), Step::Expression(SPARK), Step::Digits],
    ),
    row(&["afmoe"], &[Step::Expression(THREES), Step::Expression(AFMOE_SCRIPTS), Step::Expression(DEEPSEEK3)]),
    row(&["superbpe"], &[Step::Expression(r"\p{N}+"), Step::Expression(r"(?=(\d{3})+(?!\d))")]),
    row(&["bloom", "gpt3-finnish", "poro-chat"], &[Step::Expression(BLOOM)]),
    row(&["viking"], &[Step::Expression(BLOOM), Step::Digits]),
    row(&["falcon"], &[Step::Expression(FALCON_SIGNS), Step::Expression(GPT2), Step::Expression(THREE_DIGITS)]),
    row(
        &["default"],
        &[
            Step::Expression(DEFAULT_SIGNS),
            Step::Expression(GPT2),
            Step::Expression(r"\p{N}+"),
            Step::Expression(THREE_DIGITS),
        ],
    ),
    PreTokenizer {
        add_bos: true,
        ..row(
            &["chameleon"],
            &[
                Step::Expression("<sentinel:[0-9]+>"),
                Step::Expression("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
                Step::Expression(r"([\t\n]|    |  )"),
                Step::Digits,
                Step::Expression(r"[\p{P}!-/:-@\[-`{-~]"),
                Step::Gpt2,
            ],
        )
    },
    PreTokenizer {
        visible_spaces: true,
        ..row(&["gemma4", "granite-embed-multi-311m", "sarvam-moe"], &[Step::Expression(LINES)])
    },
];
