import pytest
from distill_helpers import built_dataset, guard_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distill") / "set"


@pytest.fixture(scope="module")
def dataset(folder):
    return built_dataset(folder)


@pytest.fixture(scope="module")
def guard(folder, dataset):
    return guard_of(folder, dataset)
