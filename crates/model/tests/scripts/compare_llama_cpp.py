#!/usr/bin/env python3
"""Compare our logits of the tiny models with llama.cpp's, from the same GGUF files.

usage: compare_llama_cpp.py LLAMA_LOGITS DIR

LLAMA_LOGITS is llama_logits.cpp (beside this script), built; DIR has the files that
`cargo test -p honelm-model --test model writes_gguf_files -- --ignored` writes (target/tmp/tiny-gguf). Prints for each
model the largest KL divergence of a position, the mean, and the largest difference in standard deviations of the logits.
Needs: pip install numpy
"""
import json
import pathlib
import subprocess
import sys

import numpy as np


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    for path in sorted(folder.glob("*.gguf")):
        ours = json.loads(path.with_suffix(".json").read_text())
        tokens = [str(t) for t in ours["tokens"]]
        run = subprocess.run([program, str(path), str(ours["context"]), *tokens], capture_output=True)
        if run.returncode != 0:
            reason = [line for line in run.stderr.decode(errors="replace").splitlines() if line.strip()]
            print(f"{path.stem:22} refused: {' / '.join(reason[-3:])[:160]}")
            continue
        theirs = np.frombuffer(run.stdout, dtype=np.float32).astype(np.float64).reshape(len(tokens), -1)
        mine = np.array(ours["logits"]).reshape(len(tokens), -1)
        p, q = log_softmax(mine), log_softmax(theirs)
        kl = (np.exp(p) * (p - q)).sum(1)
        print(f"{path.stem:22} KL max {kl.max():.1e} mean {kl.mean():.1e}  largest difference "
              f"{np.abs(mine - theirs).max() / mine.std():.1e} std")


main()
