"""Small trainings: their settings, how they are run, and what they leave."""

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.train.checkpoint import start_run
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.training_config import TrainConfig

TINY = TrainConfig(
    network=ModelConfig(width=32, layers=1, heads=4, ffn_width=64),
    sampler=SamplerConfig(tokens=192),
    steps=8,
    warmup=2,
    evaluate_every=4,
    learning_rate=3e-3,
    calibrate=False,
)


def train(directory, dataset, config=TINY, **arguments):
    start_run(directory, config, "d" * 64)
    trainer = Trainer(directory, dataset, config, "d" * 64, **arguments)
    return trainer, trainer.run()


def all_bytes(directory):
    return {
        str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()
    }


OPTIONS = [
    *("--steps", "12", "--evaluate-every", "6", "--warmup", "2", "--tokens", "192"),
    *("--layers", "1", "--width", "32", "--heads", "4", "--ffn-width", "64"),
]
