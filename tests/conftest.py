from pathlib import Path

import pytest

import betafold_mlx  # noqa: F401 - loads OpenBLAS, and must come before the first mlx.core of any test file

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real structures beside the checkout; skip the test where it is not there."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real structures of ../shared/data")
    return folder
