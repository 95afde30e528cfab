import mlx.core as mx
import pytest
from synthetic import toy_model

from betafold_mlx.model.directory import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The directory of a model without templates of its own."""
    mx.random.seed(0)
    path = tmp_path_factory.mktemp("models") / "toy"
    save_model(path, toy_model(), "card", {})
    return path
