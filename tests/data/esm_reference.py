"""Makes `esm_tiny/`: a small random ESM-2 as the hub would hold it, and what transformers computes with it.

    pip install torch transformers
    PYTHONPATH=tests python tests/data/esm_reference.py

The tests compare with these numbers where torch is not installed.
"""

import numpy as np
from esm_helpers import SEQUENCES, TINY, TINY_CONFIG, random_tensors, save_tensors, write_checkpoint
from esm_transformers import load, outputs

POSITIONS = 64  # of the unused absolute positions, to keep the file small
SHORT = [SEQUENCES[k] for k in (0, 1, 2, 3, 4, 8)]


def main() -> None:
    tensors = random_tensors(TINY_CONFIG, seed=20, positions=POSITIONS)
    # Far from 10000 ** (-k / d): who makes the frequencies anew instead of reading them is found out.
    for name in tensors:
        if name.endswith("inv_freq"):
            tensors[name] = np.array([1.2, 0.25, 0.06, 0.0125], dtype=np.float16).astype(np.float32)
    write_checkpoint(TINY, TINY_CONFIG, tensors, positions=POSITIONS)
    save_tensors(TINY / "expected.safetensors", outputs(load(TINY), SHORT))


if __name__ == "__main__":
    main()
