from pathlib import Path

import pytest
from hypothesis import settings

import betafold_mlx  # noqa: F401 - before MLX: its memory settings

settings.register_profile("slow machines", deadline=None)
settings.load_profile("slow machines")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def quick_folds():
    """Minimise and close in a few steps, once: for tests of what is made of folds, not of how good they are."""
    from betafold_mlx.fold import closing, ensemble

    with pytest.MonkeyPatch.context() as patch:
        for module, name, number in (
            (ensemble, "STEPS", 4),
            (ensemble, "BONDED_STEPS", 4),
            (ensemble, "ATTEMPTS", 1),
            (closing, "ROUNDS", 1),
        ):
            assert getattr(module, name) >= number
            patch.setattr(module, name, number)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real structures beside the checkout; skip the test where it is not there."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real structures of ../shared/data")
    return folder
