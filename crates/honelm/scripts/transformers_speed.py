#!/usr/bin/env python3
"""Measure the speed of a model in Transformers on this machine's CPU, for `honelm optimize --transformers FILE`.

usage: transformers_speed.py MODEL FILE [--dtype float16] [--threads N]

MODEL is a Hugging Face folder. The tests are those of `honelm bench` and of reports: a prompt of 512 tokens is read (or as
many as the context holds), 64 tokens are decoded greedily after one token with a key-value cache, and the first token after a
prompt of 128 tokens is timed. Each test runs once untimed and then five times; the median counts. FILE is written at the end.
Needs: pip install torch transformers
"""
import argparse
import json
import pathlib
import statistics
import time

import torch
import transformers


def seconds(test, repeats=5):
    """Return the median time of a test after one that is not timed."""
    test()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        test()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


@torch.inference_mode()
def measure(net, vocabulary, context):
    generator = torch.Generator().manual_seed(1)
    prompt = torch.randint(3, vocabulary, (1, min(512, context)), generator=generator)
    short = prompt[:, : min(128, context)]

    def decode(count):
        out = net(prompt[:, :1], use_cache=True)
        for _ in range(count):
            token = out.logits[:, -1:].argmax(-1)
            out = net(token, past_key_values=out.past_key_values, use_cache=True)

    count = min(64, context - 1)
    return {
        "prefill_tokens_per_second": prompt.shape[1] / seconds(lambda: net(prompt, use_cache=True, logits_to_keep=1)),
        "decode_tokens_per_second": count / (seconds(lambda: decode(count)) - seconds(lambda: decode(0))),
        "first_token_seconds": seconds(lambda: net(short, use_cache=True, logits_to_keep=1).logits.argmax(-1)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--dtype", default="float16", choices=["float16", "bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    net = transformers.AutoModelForCausalLM.from_pretrained(arguments.model, dtype=getattr(torch, arguments.dtype)).eval()
    report = {
        "engine": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "dtype": arguments.dtype,
        "threads": arguments.threads,
        **measure(net, net.config.vocab_size, net.config.max_position_embeddings),
    }
    text = json.dumps(report, indent=2)
    partial = arguments.file.with_suffix(".partial")
    partial.write_text(text + "\n")
    partial.rename(arguments.file)
    print(text)


if __name__ == "__main__":
    main()
