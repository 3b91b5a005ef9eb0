#!/usr/bin/env python3
"""Compare our logits of the tiny models with llama.cpp's and transformers', each from files that we wrote.

usage: compare.py LLAMA_LOGITS DIR

LLAMA_LOGITS is llama_logits.cpp (beside this script), built; DIR has the files that
`cargo test -p honelm-model --test model writes_files -- --ignored` writes (target/tmp/tiny-written): GGUF files, and folders
written from them. Prints for each model and reader the largest KL divergence of a position, the mean, and the largest
difference in standard deviations of the logits.
Needs: pip install numpy torch transformers
"""
import json
import pathlib
import subprocess
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def llama_cpp(program, path, tokens, context):
    """Logits, or why it refuses."""
    run = subprocess.run([program, str(path), str(context), *map(str, tokens)], capture_output=True)
    if run.returncode != 0:
        lines = [line for line in run.stderr.decode(errors="replace").splitlines() if "error" in line]
        return None, "refused: " + " ".join(lines)[:120]
    return np.frombuffer(run.stdout, dtype=np.float32).reshape(len(tokens), -1), ""


@torch.no_grad()
def transformers(folder, tokens):
    if not (folder / "config.json").exists():
        return None, "not written"
    net = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    return net(torch.tensor([tokens]), use_cache=False).logits[0].numpy(), ""


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    for path in sorted(folder.glob("*.gguf")):
        ours = json.loads(path.with_suffix(".json").read_text())
        tokens = ours["tokens"]
        mine = np.array(ours["logits"]).reshape(len(tokens), -1)
        for reader, (theirs, reason) in [("llama.cpp", llama_cpp(program, path, tokens, ours["context"])),
                                         ("transformers", transformers(folder / path.stem, tokens))]:
            if theirs is None:
                print(f"{path.stem:22} {reader:12} {reason}")
                continue
            p, q = log_softmax(mine), log_softmax(theirs.astype(np.float64))
            kl = (np.exp(p) * (p - q)).sum(1)
            print(f"{path.stem:22} {reader:12} KL max {kl.max():.1e} mean {kl.mean():.1e}  largest difference "
                  f"{np.abs(mine - theirs).max() / mine.std():.1e} std")


main()
