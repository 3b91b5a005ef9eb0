"""Writes tests/data/gptq.safetensors: GPTQ modules packed by a direct implementation of the format.

Bit j of the stream of a column of qweight is bit j mod b of code j div b. The script packs single bits, which is
slow but independent of the shifts of other implementations.

Run once by hand: pip install numpy safetensors; python make_golden_gptq.py
"""
import pathlib

import numpy as np
import safetensors.numpy

DATA = pathlib.Path(__file__).parent.parent / "tests" / "data"
rng = np.random.default_rng(7)


def pack_along_rows(codes, bits):
    """Packs codes [n, m] into i32 [n * bits / 32, m], beginning with the least significant bit of the first code."""
    n, m = codes.shape
    stream = ((codes[:, None, :] >> np.arange(bits)[None, :, None]) & 1).reshape(n * bits, m)
    words = stream.reshape(n * bits // 32, 32, m).astype(np.uint64)
    weights = np.uint64(1) << np.arange(32, dtype=np.uint64)
    return (words * weights[None, :, None]).sum(1).astype(np.uint32).view(np.int32)


def v1_zeros(packed, bits):
    """Converts as GPTQModel's convert_gptq_v2_to_v1_format does, with one subtraction for the whole word."""
    ones = sum(1 << s for s in range(0, 32, bits))
    return ((packed.view(np.uint32).astype(np.int64) - ones) % 2**32).astype(np.uint32).view(np.int32)


def layer(out, name, rows, cols, bits, group, version, act_order, zeros="any"):
    groups = -(-cols // group)
    q = rng.integers(0, 2**bits, (rows, cols))
    low = 0 if zeros == "any" and version == 2 else 1
    z = rng.integers(low, 2**bits, (rows, groups))
    if zeros == "sym":
        z[:] = 2 ** (bits - 1)
    if zeros == "borrow":  # zero points 0 in v1: the subtraction borrows across the word
        z[::3] = 0
        z[-1] = 1
    s = (rng.random((rows, groups)) * 0.1 + 0.001).astype(np.float16)
    g_idx = np.arange(cols) // group
    if act_order:
        g_idx = rng.permutation(g_idx)
    w = s.astype(np.float32)[:, g_idx] * (q - z[:, g_idx]).astype(np.float32)
    qzeros = np.ascontiguousarray(pack_along_rows(z, bits).T)
    out[f"{name}.qweight"] = pack_along_rows(np.ascontiguousarray(q.T), bits)
    out[f"{name}.qzeros"] = v1_zeros(qzeros, bits) if version == 1 else qzeros
    out[f"{name}.scales"] = np.ascontiguousarray(s.T)
    out[f"{name}.g_idx"] = g_idx.astype(np.int32)
    out[f"{name}.expected_codes"] = q.astype(np.uint8)
    out[f"{name}.expected_zeros"] = z.astype(np.uint8)
    out[f"{name}.expected_weights"] = w


tensors = {}
layer(tensors, "w4_v1", 16, 48, 4, 16, 1, False)
layer(tensors, "w4_v1_sym", 16, 48, 4, 16, 1, False, "sym")
layer(tensors, "w4_v1_act", 16, 48, 4, 16, 1, True)
layer(tensors, "w4_v1_borrow", 16, 48, 4, 16, 1, False, "borrow")
layer(tensors, "w4_v2", 24, 40, 4, 16, 2, False)  # a last group of 8 columns
layer(tensors, "w4_v2_act", 16, 48, 4, 16, 2, True)
layer(tensors, "w8_v1", 8, 32, 8, 8, 1, False)
layer(tensors, "w8_v1_borrow", 8, 32, 8, 8, 1, False, "borrow")
layer(tensors, "w8_v2_act", 8, 32, 8, 8, 2, True)
layer(tensors, "w8_v2_one_group", 8, 32, 8, 32, 2, False)
safetensors.numpy.save_file(tensors, DATA / "gptq.safetensors", metadata={"format": "pt"})
