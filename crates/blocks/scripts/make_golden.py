"""Golden blocks by gguf-py (pip install gguf numpy), the reference of ggml's formats in Python.

Writes to ../tests/data:
  input.f32        rows of 1024 values: random, extreme, zeros, denormals, alternating, constant
  <name>.blocks    encoded input (where gguf-py encodes the format), then blocks of arbitrary bytes
  <name>.f32       what gguf-py decodes <name>.blocks to
Run by hand: python make_golden.py
"""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES

OUT = Path(__file__).parent.parent / "tests" / "data"
rng = np.random.default_rng(20261103)

# Offsets of the half-precision fields of each format.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q6_K: [208]}


def blocks_of_input() -> np.ndarray:
    """32 blocks of 32 values, all of which every encoding can hold."""
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


def arbitrary(t: T, n: int) -> np.ndarray:
    """n blocks of random bytes whose half-precision fields are finite: ordinary, huge, denormal, negative."""
    block_bytes = GGML_QUANT_SIZES[t][1]
    b = rng.integers(0, 256, (n, block_bytes), dtype=np.uint8)
    fields = [0x2C3F, 0xACF1, 0x7BFF, 0xFBFF, 0x0001, 0x83FF, 0x0000, 0x8000]
    for i in range(n):
        for at in HALVES[t]:
            h = np.uint16(fields[(i * (1 + at)) % len(fields)])
            b[i, at : at + 2] = np.frombuffer(h.tobytes(), np.uint8)
    return b


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    x = blocks_of_input()
    x.tofile(OUT / "input.f32")
    for t in [T.F16, T.BF16, *HALVES]:
        parts = []
        try:
            parts.append(quants.quantize(x, t).view(np.uint8).reshape(-1))
        except NotImplementedError:
            pass
        if t in HALVES:
            parts.append(arbitrary(t, 8).reshape(-1))
        blocks = np.concatenate(parts)
        blocks.tofile(OUT / f"{t.name.lower()}.blocks")
        quants.dequantize(blocks.reshape(1, -1), t).astype(np.float32).tofile(OUT / f"{t.name.lower()}.f32")


if __name__ == "__main__":
    main()
