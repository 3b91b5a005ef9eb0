#!/usr/bin/env python3
"""Compare our logits of folders of integer groups with those of other loaders.

usage: compare_containers.py DIR

DIR has the folders CONTAINER-BITS-KIND and the files CONTAINER-BITS-KIND.json beside them that
`cargo test -p honelm-model --test model writes_files -- --ignored` writes (target/tmp/tiny-written).

mlx and awq are loaded by mlx-lm, which converts AWQ to MLX and so rounds all weights that are not packed, and the biases of
zero points, to F16 (a difference of about 1e-2 is as it should be). Symmetric
compressed-tensors are loaded by transformers with the package compressed-tensors. Asymmetric ones are decompressed by the
package, module by module, and their values loaded by transformers: with compressed-tensors 0.20, transformers 5.24 expects
zero points that are not packed, other than the package writes them, and refuses every such file. gptq is compared by the
golden file of gptqmodel alone. Prints for each folder the largest difference in standard deviations of the logits.
Needs: pip install numpy torch transformers compressed-tensors safetensors mlx[cpu] mlx-lm
"""
import json
import pathlib
import sys

import numpy as np


def logits(net, tokens):
    import torch

    with torch.no_grad():
        return net.eval()(torch.tensor([tokens]), use_cache=False).logits[0].float().numpy()


def symmetric(folder, tokens):
    import torch
    from transformers import AutoModelForCausalLM

    return logits(AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32), tokens)


def asymmetric(folder, tokens):
    import torch
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    group = config.quantization_config["config_groups"]["group_0"]
    scheme = QuantizationScheme(targets=group["targets"], weights=QuantizationArgs(**group["weights"]))
    del config.quantization_config
    state = load_file(folder / "model.safetensors")
    for packed in [name for name in state if name.endswith(".weight_packed")]:
        module = packed.removesuffix(".weight_packed")
        suffixes = ["weight_packed", "weight_scale", "weight_shape", "weight_zero_point"]
        parts = {suffix: state.pop(f"{module}.{suffix}") for suffix in suffixes}
        parts["weight_scale"] = parts["weight_scale"].float()
        state[f"{module}.weight"] = PackedQuantizationCompressor.decompress(parts, scheme)["weight"].float()
    net = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    net.load_state_dict(state)
    return logits(net, tokens)


def compressed_tensors(folder, tokens):
    return (asymmetric if folder.name.endswith("-asymmetric") else symmetric)(folder, tokens)


def mlx(folder, tokens):
    import mlx.core as mx
    from mlx_lm.utils import load_model

    mx.set_default_device(mx.cpu)
    net, _ = load_model(folder)
    net.set_dtype(mx.float32)
    return np.array(net(mx.array([tokens]))[0].astype(mx.float32))


READERS = {"compressed-tensors": compressed_tensors, "mlx": mlx, "awq": mlx}


def main():
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
        ours = json.loads(path.read_text())
        folder = path.with_suffix("")
        if ours.get("container") not in READERS:
            continue
        tokens = ours["tokens"]
        mine = np.array(ours["logits"], dtype=np.float64).reshape(len(tokens), -1)
        theirs = READERS[ours["container"]](folder, tokens)
        print(f"{path.stem:32} largest difference {np.abs(mine - theirs).max() / mine.std():.1e} std")


main()
