"""Writes tests/data/*.model and sentencepiece.json: small SentencePiece models, and the ids that the `sentencepiece` library
gives for difficult texts.

    pip install sentencepiece==0.2.* protobuf
    python make_sentencepiece.py [--check FOLDER]

The models are trained on the public-domain text that the repository ships. With --check, models with the full nmt_nfkc
map (250 KB each, so not in the repository) are written to FOLDER with their own sentencepiece.json, for a longer
comparison: HONELM_SENTENCEPIECE=FOLDER cargo test -p honelm-text --test text sentencepiece_models.
"""

import json
import sys
from pathlib import Path

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
TEXT = HERE.parent.parent.parent / "honelm" / "data" / "heldout.txt"

TEXTS = [
    "",
    " ",
    "   ",
    "\n",
    "Hello, world!",
    " leading and trailing  ",
    "two  spaces   three\tand a tab\nline\r\n\nend",
    "It's they'll I'D we'VE don't",
    "1 12 123 1234 12345678",
    "snake_case camelCase {\"k\": [1, 2.5e-3]} // comment",
    "Grüße aus Köln, naïve café, e\u0301 A\u030a \ufb01 \u01c5 ß",
    "Привет, мир!",
    "你好，世界。日本語テキスト ｶﾞｷﾞ ＡＢＣ　１２３ 한국어 ไทย हिन्दी العربية",
    "🎉👩‍👩‍👧‍👦🏳️‍🌈 🇩🇪 \u200b\ufeff\u00a0\u3000end",
    "a\u0001b\u007f\u0085\u2028c",
    "<s> </s> <unk> <pad> <0x41> <u><u> <u>x <u> <ctl> the<u>the",
    "▁already ▁ visible▁spaces ▁▁",
    "                                   many spaces                ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbb",
    "the the the of the and and of of to to in in that that he he was was his his",
    "\U0010ffff\U00010348𐐷 ∑∞≠½ ™® … ‘quotes’ “more” – — ﷺ",
    "once upon a time there was a house in the town where he had lived for years with his mother",
]

# A small map, to keep the file small: ligatures, full-width letters, combining marks, and characters that go.
RULES = [(0xFB01, "fi"), (0x3000, " "), (0xA0, " "), (0xBD, "1/2"), (0x2026, "..."), (0x200B, "")]
RULES += [(0xFF21 + n, chr(0x41 + n)) for n in range(26)] + [(0xFF10 + n, str(n)) for n in range(10)]


def rules(path):
    """Returns the map in the trainer's format: source and target code points in hexadecimal, separated by a tab."""
    lines = [f"{source:X}\t{' '.join(f'{ord(c):X}' for c in target)}" for source, target in RULES]
    lines += ["65 301\tE9", "41 30A\tC5"]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def train(folder, name, **options):
    prefix = folder / name
    defaults = dict(input=str(TEXT), model_prefix=str(prefix), character_coverage=0.9995, num_threads=1,
                    minloglevel=2, input_sentence_size=1500, max_sentence_length=100_000)
    spm.SentencePieceTrainer.train(**(defaults | options))
    (folder / f"{name}.vocab").unlink()
    path = folder / f"{name}.model"
    model = pb.ModelProto.FromString(path.read_bytes())
    model.trainer_spec.ClearField("input")
    model.trainer_spec.ClearField("model_prefix")
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    return path, model


def write(path, model):
    path.write_bytes(model.SerializeToString())
    return path


def record(paths, folder):
    out = {}
    for path in paths:
        processor = spm.SentencePieceProcessor(model_file=str(path))
        rows = []
        for text in TEXTS:
            ids = processor.encode(text)
            rows.append({"text": text, "ids": ids})
        out[path.name] = rows
    (folder / "sentencepiece.json").write_text(json.dumps(out, ensure_ascii=False, indent=None) + "\n")


def golden():
    tsv = DATA / "rules.tsv"
    paths = []
    # As Llama has it.
    paths.append(write(*train(DATA, "bpe_bytes", model_type="bpe", vocab_size=450, byte_fallback=True,
                              normalization_rule_name="identity", remove_extra_whitespaces=False,
                              user_defined_symbols=["<u>", "  x"], control_symbols=["<ctl>"])))
    # As Gemma has it, with pieces that are not to be used, single characters among them.
    path, model = train(DATA, "bpe_unused", model_type="bpe", vocab_size=420, byte_fallback=True,
                        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
                        user_defined_symbols=["<u>"])
    for piece in model.pieces:
        if piece.piece in ("▁the", "he", "in", "▁t", "▁a", "z"):
            piece.type = pb.ModelProto.SentencePiece.UNUSED
    paths.append(write(path, model))
    # The trainer's own defaults: spaces removed, unknown characters.
    paths.append(write(*train(DATA, "bpe_rules", model_type="bpe", vocab_size=200, pad_id=3,
                              normalization_rule_tsv=rules(tsv), user_defined_symbols=["<u>"])))
    path, model = train(DATA, "unigram_rules", model_type="unigram", vocab_size=300, pad_id=0, eos_id=1, unk_id=2,
                        bos_id=-1, normalization_rule_tsv=rules(tsv), user_defined_symbols=["<u>", "the<u>"])
    for piece in model.pieces:
        if piece.piece in ("▁the", "ing", "z"):
            piece.type = pb.ModelProto.SentencePiece.UNUSED
    paths.append(write(path, model))
    paths.append(write(*train(DATA, "unigram_bytes", model_type="unigram", vocab_size=450, byte_fallback=True,
                              normalization_rule_name="identity", remove_extra_whitespaces=False,
                              escape_whitespaces=True, control_symbols=["<ctl>"])))
    tsv.unlink()
    record(paths, DATA)


def check(folder):
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, options in [
        ("bpe_nmt_nfkc", dict(model_type="bpe", vocab_size=1000)),
        ("bpe_nfkc_cf", dict(model_type="bpe", vocab_size=1000, normalization_rule_name="nmt_nfkc_cf", byte_fallback=True)),
        ("unigram_nmt_nfkc", dict(model_type="unigram", vocab_size=1000)),
        ("unigram_nfkc_bytes", dict(model_type="unigram", vocab_size=1000, normalization_rule_name="nfkc",
                                    byte_fallback=True, remove_extra_whitespaces=False)),
    ]:
        paths.append(write(*train(folder, name, **options)))
    lines = TEXT.read_text().splitlines()
    TEXTS.extend(line for line in lines[:400] if line)
    TEXTS.extend("".join(chr(c) for c in range(start, start + 64) if not 0xD800 <= c <= 0xDFFF) for start in range(1, 0x30000, 64))
    record(paths, folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        check(Path(sys.argv[2]))
    else:
        DATA.mkdir(exist_ok=True)
        golden()
