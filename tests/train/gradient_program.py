"""Write the gradient of a step of 7 examples as the ranks of this program average it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the other tests

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from train.test_ranks import CONFIG

from betafold_mlx.data.store import Dataset
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.ranks import join

STEP = 2


def main(dataset, output):
    """Take a step that keeps its gradient."""
    ranks = join()
    trainer = Trainer(Path("never"), Dataset.load(Path(dataset)), CONFIG, "d" * 64, ranks=ranks)
    kept = {}

    def keep(loss, parts, gradients):
        kept.update(tree_flatten(gradients))
        return {}

    trainer._update = keep
    trainer.progress.step = STEP
    assert trainer.sampler.batch_size(trainer.sampler.batch(STEP)[1]) == 7  # shares of 4 and 3
    trainer._step(nn.value_and_grad(trainer.model, trainer._loss))
    assert ranks.size == 2 or "two" not in output
    mx.eval(kept)
    if ranks.main:
        mx.save_safetensors(output, kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
