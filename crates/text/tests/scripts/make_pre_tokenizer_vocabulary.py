"""Writes the vocabularies for pre_tokenizers.cpp, which writes tests/data/pre_tokenizers.json and gemma4.json.

    pip install gguf
    python make_pre_tokenizer_vocabulary.py pairs.gguf
    python make_pre_tokenizer_vocabulary.py gemma4.gguf ggml-vocab-llama-spm.gguf llama2/tokenizer.json

pairs.gguf has a token for each byte and each pair of adjacent bytes of tests/data/pre_tokenizers.txt, in order of
appearance. Almost any difference in splitting then changes the ids.
"""

import json
import sys
from pathlib import Path

import gguf

TEXT = Path(__file__).resolve().parent.parent / "data" / "pre_tokenizers.txt"


def alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(0x100 + n) for n, b in enumerate(shifted)}


def pairs():
    chars = alphabet()
    text = TEXT.read_bytes()
    found = dict.fromkeys(zip(text, text[1:]))
    tokens = [chars[b] for b in range(256)] + [chars[a] + chars[b] for a, b in found]
    return tokens, [1] * len(tokens), [f"{chars[a]} {chars[b]}" for a, b in found]


def llama2(vocabulary, rules):
    fields = gguf.GGUFReader(vocabulary).fields
    tokens = fields["tokenizer.ggml.tokens"]
    types = fields["tokenizer.ggml.token_type"]
    merges = json.load(open(rules))["model"]["merges"]
    return ([bytes(tokens.parts[i]).decode() for i in tokens.data], [int(types.parts[i][0]) for i in types.data], merges)


out, *sources = sys.argv[1:]
tokens, types, merges = llama2(*sources) if sources else pairs()
writer = gguf.GGUFWriter(out, "llama")
for add in (writer.add_context_length, writer.add_embedding_length, writer.add_block_count, writer.add_head_count,
            writer.add_feed_forward_length):
    add(1)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_tokenizer_model("gemma4" if sources else "gpt2")
writer.add_tokenizer_pre("gemma4" if sources else "gpt-2")
writer.add_token_list(tokens)
writer.add_token_types(types)
writer.add_token_merges(merges)
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
