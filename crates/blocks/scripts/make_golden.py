"""Writes known answers for encoded blocks, computed by gguf-py (the Python reference of ggml's formats), by ggml's C code
and by PyTorch.

Writes to ../tests/data:
  input.f32        rows of 1024 values: random, extreme, zeros, denormals, alternating, constant
  <name>.blocks    encoded input (where gguf-py encodes the format), then blocks of arbitrary and of extreme bytes
  <name>.f32       the decoded values of these blocks
  <name>.points    blocks in which every point of the lattice occurs
  points.txt       name and FNV-1a (64 bit) of the little-endian f32 that each <name>.points decodes to

gguf-py decodes all types except Q1_0 and Q2_0, which ggml's C code decodes. PyTorch decodes E4M3. Everything that gguf-py
decodes is also compared bit for bit with ggml's C code.
Run by hand: pip install gguf numpy torch; python make_golden.py LIBGGML_BASE.so
"""

import ctypes
import sys
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES

OUT = Path(__file__).parent.parent / "tests" / "data"
GGML = ctypes.CDLL(sys.argv[1])
rng = np.random.default_rng(20261103)

# The offsets of the half-precision fields of each format. IQ1_M stores its field in nibbles; three formats have none.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q6_K: [208],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q5_K: [0, 2], T.IQ4_NL: [0], T.IQ4_XS: [0], T.TQ1_0: [52], T.TQ2_0: [64],
    T.MXFP4: [], T.NVFP4: [], T.IQ1_S: [0], T.IQ1_M: [], T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0],
    T.IQ3_XXS: [0], T.IQ3_S: [0],
}  # fmt: skip
# Types that gguf-py does not know: bytes and values per block.
BY_GGML = {"Q1_0": (18, 128), "Q2_0": (18, 64)}
ENCODED = [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q4_K, T.Q6_K]
FIELDS = [0x2C3F, 0xACF1, 0x7BFF, 0xFBFF, 0x0001, 0x83FF, 0x0000, 0x8000]


def blocks_of_input() -> np.ndarray:
    """Returns 32 blocks of 32 values that every encoding can hold."""
    b = (rng.standard_normal((32, 32)) * 0.05).astype(np.float32)
    b[8] = 0
    b[9] = np.where(np.arange(32) % 2 == 0, 1, -1) * 0.7
    b[10] = np.where(np.arange(32) % 2 == 0, -3, 3)
    b[11] = 0.1
    b[12] = -0.1
    b[13] = np.linspace(-1, 1, 32)
    b[14] = np.linspace(0.5, 2.5, 32)
    b[15] = -np.linspace(0.5, 2.5, 32)
    b[16] *= np.float32(65504 / np.abs(b[16]).max())  # up to the largest half
    b[17] *= np.float32(1e-5)  # half-precision denormals
    b[18] *= np.float32(6e-7)
    b[19] *= np.float32(1e-9)  # scales that half precision rounds to 0
    b[20, 1:] = 0
    b[21, :31] = 0
    b[22] = 0
    b[22, 5] = -2
    b[23] = np.arange(32) - 16
    b[24] = np.arange(32) * 0.5  # ties
    b[25] = np.sign(b[25]) * 2.0 ** rng.integers(-14, 3, 32)
    return b.reshape(1, 1024)


def put_fields(b: np.ndarray, halves: list[int], iq1_m: bool) -> np.ndarray:
    """Returns finite half-precision fields of both signs: ordinary, huge, denormal and zero."""
    for i in range(len(b)):
        for at in halves:
            h = np.uint16(FIELDS[(i * (1 + at)) % len(FIELDS)])
            b[i, at : at + 2] = np.frombuffer(h.tobytes(), np.uint8)
        if iq1_m:
            for k in range(4):
                b[i, 49 + 2 * k] = b[i, 49 + 2 * k] & 15 | (FIELDS[i % len(FIELDS)] >> (4 * k) & 15) << 4
    return b


def arbitrary(block_bytes: int, halves: list[int], iq1_m: bool = False) -> np.ndarray:
    """Returns blocks of random bytes, and blocks with all bits set, no bit set, only the sign bits, and all other bits."""
    b = rng.integers(0, 256, (8, block_bytes), dtype=np.uint8)
    fills = np.repeat(np.array([[0xFF], [0x00], [0x80], [0x7F]], np.uint8), block_bytes, axis=1)
    return np.concatenate([put_fields(b, halves, iq1_m), put_fields(fills, halves, iq1_m)])


def by_ggml(name: str, blocks: np.ndarray, values: int) -> np.ndarray:
    out = np.empty(values, np.float32)
    f = getattr(GGML, f"dequantize_row_{name}")
    blocks = np.ascontiguousarray(blocks)
    f(blocks.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(values))
    return out


def decode(t: T, blocks: np.ndarray) -> np.ndarray:
    values = quants.dequantize(blocks.reshape(1, -1), t).astype(np.float32).reshape(-1)
    if t not in (T.F16, T.BF16):
        name = t.name.lower().replace("_k", "_K")
        same = by_ggml(name, blocks, len(values)).view(np.uint32) == values.view(np.uint32)
        assert same.all(), f"{t.name}: gguf-py and ggml differ at {np.argmin(same)}"
    return values


def all_points(t: T) -> np.ndarray:
    """Returns blocks that contain every point of the type's lattice and are random otherwise."""
    cls = getattr(quants, t.name)
    count, width = cls.grid_shape
    groups = 256 // width
    n = count // groups
    b = put_fields(rng.integers(0, 256, (n, GGML_QUANT_SIZES[t][1]), dtype=np.uint8), HALVES[t], t == T.IQ1_M)
    for i in range(n):
        for g in range(groups):
            p = i * groups + g
            low, high = p & 255, p >> 8

            def put(at: int, shift: int, width: int) -> None:
                b[i, at] = int(b[i, at]) & ~(((1 << width) - 1) << shift) & 255 | high << shift

            if t in (T.IQ1_S, T.IQ2_S, T.IQ3_S, T.IQ3_XXS):
                b[i, 2 + g] = low
            if t == T.IQ1_S:
                bits = int(b[i, 34 + g // 4 * 2]) | int(b[i, 35 + g // 4 * 2]) << 8
                bits = bits & ~(7 << (3 * (g % 4))) | high << (3 * (g % 4))
                b[i, 34 + g // 4 * 2], b[i, 35 + g // 4 * 2] = bits & 255, bits >> 8
            elif t == T.IQ1_M:
                b[i, g] = low
                put(32 + g // 2, 4 * (g % 2), 3)
            elif t == T.IQ2_XXS:
                b[i, 2 + g // 4 * 8 + g % 4] = low
            elif t == T.IQ2_XS:
                b[i, 2 + 2 * g] = low
                put(3 + 2 * g, 0, 1)
            elif t == T.IQ2_S:
                put(66 + g // 4, 2 * (g % 4), 2)
            elif t == T.IQ3_S:
                put(66 + g // 8, g % 8, 1)
    return b


def fnv(values: np.ndarray) -> int:
    h = 0xCBF29CE484222325
    for byte in values.astype("<f4").tobytes():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    x = blocks_of_input()
    x.tofile(OUT / "input.f32")
    for t in [T.F16, T.BF16, *HALVES]:
        parts = []
        if t not in HALVES or (t in ENCODED and t not in (T.Q4_K, T.Q6_K)):
            parts.append(quants.quantize(x, t).view(np.uint8).reshape(-1))
        if t in HALVES:
            parts.append(arbitrary(GGML_QUANT_SIZES[t][1], HALVES[t], t == T.IQ1_M).reshape(-1))
        blocks = np.concatenate(parts)
        if t == T.MXFP4:
            blocks.reshape(-1, 17)[:, 0] = [0, 1, 2, 100, 127, 200, 252, 120, 251, 0, 128, 127]
        blocks.tofile(OUT / f"{t.name.lower()}.blocks")
        decode(t, blocks).tofile(OUT / f"{t.name.lower()}.f32")
    for name, (block_bytes, length) in BY_GGML.items():
        blocks = arbitrary(block_bytes, [0])
        blocks.tofile(OUT / f"{name.lower()}.blocks")
        by_ggml(name.lower(), blocks, len(blocks) * length).tofile(OUT / f"{name.lower()}.f32")
    lines = []
    for t in [T.IQ1_S, T.IQ1_M, T.IQ2_XXS, T.IQ2_XS, T.IQ2_S, T.IQ3_XXS, T.IQ3_S]:
        points = all_points(t)
        points.tofile(OUT / f"{t.name.lower()}.points")
        lines.append(f"{t.name.lower()} {fnv(decode(t, points)):016x}\n")
    (OUT / "points.txt").write_text("".join(lines))
    fp8()


def fp8() -> None:
    """Returns all codes that are numbers, with ordinary, huge and denormal scales."""
    codes = np.concatenate([np.arange(0, 127), np.arange(128, 255), [0, 128]]).astype(np.uint8).reshape(8, 32)
    scales = np.array([1, 0.0123, -3e35, 1e-38, 1e-42, 0, 448, 7e-4], np.float32)
    blocks = np.concatenate([scales.view(np.uint8).reshape(8, 4), codes], axis=1)
    blocks.tofile(OUT / "fp8.blocks")
    numbers = torch.from_numpy(codes).view(torch.float8_e4m3fn).float()
    (numbers * torch.from_numpy(scales)[:, None]).numpy().tofile(OUT / "fp8.f32")


if __name__ == "__main__":
    main()
