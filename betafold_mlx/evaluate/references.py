"""The experimental structures that predicted files are scored against."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from betafold_mlx.data.sources import read_sources
from betafold_mlx.data.store import Dataset, dataset_sha256, is_dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.items import Item, split_items
from betafold_mlx.peptide.sequence import Peptide


@dataclass(frozen=True)
class ReferenceSet:
    """Experimental structures and where they come from.

    Attributes
    ----------
    items : list of Item
        At least one. Without a data set each is a cluster of its own, which says nothing about independence.
    sha256 : dict
        Name -> SHA-256 of each file, or of the data set, that was read.
    dataset : Dataset or None
        The data set, where they come from one.
    notes : list of str
        What was left out of the files, and why.
    failed : list of str
        One message for each file that cannot be read.
    """

    items: list[Item]
    sha256: dict[str, str]
    dataset: Dataset | None = None
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def load_references(path: Path, split: str) -> ReferenceSet:
    """Read references.

    Parameters
    ----------
    path : Path
        A data set directory, a file of backbone JSON lines, a PDB or mmCIF file, or a folder of such files.
    split : str
        Which split of a data set.

    Returns
    -------
    ReferenceSet
        With at least one item.

    Raises
    ------
    BetafoldError
        Where there is no usable structure.
    """
    if is_dataset(path):
        dataset = Dataset.load(path)
        items = split_items(dataset, split)
        if not items:
            raise BetafoldError(f"{path} has no fragments and no peptides in its {split} split")
        return ReferenceSet(items, {path.name: dataset_sha256(path)}, dataset)
    reading = read_sources([path])
    items = [
        Item(
            id=backbone.id,
            kind=backbone.kind,
            peptide=Peptide(backbone.sequence, backbone.cyclic, backbone.disulfides),
            coordinates=backbone.coordinates,
            cluster=number,
        )
        for number, backbone in enumerate(reading.backbones)
    ]
    if not items:
        reasons = [*reading.failed, *(": ".join(parts) for parts in reading.dropped), "it holds no chain"]
        raise BetafoldError(f"no usable reference in {path} ({reasons[0]})")
    return ReferenceSet(
        items,
        {str(source["name"]): str(source["sha256"]) for source in reading.sources},
        notes=[": ".join(parts) for parts in reading.dropped],
        failed=reading.failed,
    )
