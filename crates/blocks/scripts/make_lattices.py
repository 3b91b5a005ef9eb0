"""Extracts the lattice tables of the IQ types from gguf-py (pip install gguf numpy).

Writes ../src/lattices/<name>.bin: one little-endian u16 per point. The level of coordinate i (an index into the
type's levels) is in bits 2i and 2i + 1 for 8 coordinates, or in bits 3i to 3i + 2 for 4.
Run by hand: python make_lattices.py
"""

from pathlib import Path

import numpy as np
from gguf import quants

OUT = Path(__file__).parent.parent / "src" / "lattices"

for cls in [quants.IQ1_S, quants.IQ2_XXS, quants.IQ2_XS, quants.IQ2_S, quants.IQ3_XXS, quants.IQ3_S]:
    cls.init_grid()
    grid = cls.grid.reshape(cls.grid_shape)
    levels = np.array(cls.grid_map, dtype=np.float32)
    index = np.argmax(grid[..., None] == levels, axis=-1)
    bits = 2 if grid.shape[1] == 8 else 3
    words = (index << (bits * np.arange(grid.shape[1]))).sum(axis=1).astype("<u2")
    words.tofile(OUT / f"{cls.__name__.lower()}.bin")
