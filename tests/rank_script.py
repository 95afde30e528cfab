"""What a rank does in `test_distributed`: print what it got from the others as one line of JSON."""

import json
import sys

import mlx.core as mx
import numpy as np

from betafold_mlx.distributed.ranks import join
from betafold_mlx.errors import BetafoldError


def main():
    """Meet the others, and say what they sent."""
    with join() as ranks:
        me, rng = ranks.rank, np.random.default_rng(ranks.rank)
        vector, scalar = rng.normal(size=(7, 3)).astype(np.float32), np.float32(me + 0.5)
        summed = ranks.sum([mx.array(vector), mx.array(scalar)])
        odd = [
            mx.array([1e-45, -0.0, float("nan")]) * (me == 2),
            mx.array(2**60 + me),
            mx.array([me, 7], mx.uint8),
        ]
        sent = ranks.broadcast(odd, root=2)
        found = {
            "rank": me,
            "size": ranks.size,
            "main": ranks.main,
            "share": list(range(8))[ranks.share()],
            "gathered": ranks.gather({"rank": me, "text": "ä\n", "half": 0.5 if me else None}),
            "from_main": ranks.from_main(lambda: f"made by {me}"),
            "sum": [array.tolist() for array in summed],
            "shapes": [array.shape for array in summed],
            "broadcast": [bytes(np.array(array).tobytes()).hex() for array in sent],
            "types": [str(array.dtype) for array in sent],
            "bytes": ranks.broadcast_bytes(b"\x00\xff" * 1000 if me == 1 else None, 1).hex()[:8],
        }
        ranks.same("number", 5)
        try:
            ranks.same("the setting", {"steps": 8, "network": {"width": 32 + (me == 1)}})
        except BetafoldError as error:
            found["different"] = str(error)
        print(json.dumps(found), flush=True)
        if sys.argv[1:]:
            if me == 1:
                raise BetafoldError("the disk\nis full")
            ranks.barrier()  # the others still have work


if __name__ == "__main__":
    main()
