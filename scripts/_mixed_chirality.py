"""Measure what the network makes of foreign residues (`betafold_mlx.fold.foreign`), on real peptides.

    python scripts/_mixed_chirality.py [../shared/data/modified]

Reads the wwPDB files of the folder (`INDEX.tsv` lists them), and prints: how well readings of D residues foretell their
torsions; the backbone RMSD of folds beside "all read as L" and "D residues as glycine", and of lanthipeptides with and
without their thioethers; what ranks the candidates; and how far the pLDDT of foreign residues is too high. Intervals
are 95 %, by bootstrap over families of alike peptides.
Where the folder is missing it says so and ends.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import mlx.core as mx
import numpy as np

from betafold_mlx import Predictor
from betafold_mlx.evaluate.bootstrap import ClusterBootstrap, interval
from betafold_mlx.fold.foreign import CONFIDENCE_LOSS, hands, has_foreign, is_mirrored, reading
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.registry import CANDIDATES
from betafold_mlx.geometry import backbone_torsions, metrics
from betafold_mlx.geometry.spread import mirror_image
from betafold_mlx.model.folding import Folded, FoldingModel
from betafold_mlx.model.functions import softmax
from betafold_mlx.model.heads import EDGES
from betafold_mlx.model.inputs import ModelInputs, collate
from betafold_mlx.model.ramachandran import TorsionMixture
from betafold_mlx.peptide.bonds import StatedBond, checked_bonds, disulfide_bond, ring_bond
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import ALPHABET, D_THREE_LETTER, MIN_LENGTH, THREE_LETTER, Peptide

DATA = Path("../shared/data/modified")
ATOMS = ("N", "CA", "C", "O", "CB")
PARENTS = {
    **{"FVA": "V", "QIL": "I", "QPH": "F", "DBB": "A", "DBU": "A", "DHA": "A", "DBZ": "A", "ABA": "A"},
    **{"2TL": "T", "ORN": "K", "AIB": "A", "BH2": "D", "HYP": "P", "PCA": "Q", "MSO": "M", "NLE": "L"},
    **{"MK8": "L", "SME": "M", "PBF": "F", "GME": "E", "EME": "E", "TYS": "Y", "PHI": "F", "MSE": "M"},
}
"""Parents of residues in these files."""
PLANAR = ("DHA", "DBU")
LEFT_OUT = {
    "1bzv": "a chain of insulin",
    "1czq": "bound, and all its residues are D",
    "1dsr": "a macrolactone of hydroxyphenylglycines",
    "6pqf": "isoaspartate",
}
FAMILIES = {
    **dict.fromkeys(("1ic9", "1icl", "1ico"), "three-stranded sheet"),
    **dict.fromkeys(("1jy4", "1jy6"), "four-stranded sheet"),
    **dict.fromkeys(("1sn9", "1sna", "1sne", "1xof", "1t8j"), "zinc-finger design"),
    **dict.fromkeys(("1zmh", "1zmi", "1zmk"), "defensin 2"),
    **dict.fromkeys(("1kfp", "6my1", "6my2", "6my3"), "gomesin"),
    **dict.fromkeys(("2m1p", "2m2s", "2m2x"), "theta-defensin"),
    **dict.fromkeys(("4e82", "4e83", "4e86"), "defensin 5"),
    **dict.fromkeys(("7n20", "7n21"), "conotoxin"),
}
MEMBERS = 3
"""Peptides of a family that are folded."""
THIOETHERS = ("1aj1", "1pxq", "1w9n", "2dde", "2kto", "6vhj", "6vlj", "7ju9", "7jvf")
"""Held by bonds that these folds are not told of: marked in the table."""


@dataclass(frozen=True)
class Known:
    """A peptide of known structure: its entry, its family, its backbone (L, 5, 3) Angstrom, and its thioethers."""

    entry: str
    family: str
    peptide: Peptide
    coordinates: np.ndarray
    thioethers: tuple[StatedBond, ...] = ()

    @property
    def target(self) -> np.ndarray:
        """What the network is to foretell: the mirror image, where it reads that."""
        return mirror_image(self.coordinates) if is_mirrored(self.peptide) else self.coordinates


def read_peptides(folder: Path) -> list[Known]:
    """Return the peptides of the files, alike ones once: those with foreign or modified residues."""
    found: dict[tuple[str, Peptide], Known] = {}
    with (folder / "INDEX.tsv").open() as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["pdb"] not in LEFT_OUT]
    for row in rows:
        structure = gemmi.read_structure(str(folder / row["file"]))
        structure.remove_alternative_conformations()
        for chain in structure[0]:
            known = read_chain(row["pdb"], chain)
            if known and (known.peptide.modified or (hands(known.peptide) < 0).any()):
                found.setdefault((known.family, known.peptide), known)
    families = [known.family for known in found.values()]
    return [k for number, k in enumerate(found.values()) if families[:number].count(k.family) < MEMBERS]


def read_chain(entry: str, chain: gemmi.Chain) -> Known | None:
    """Return the peptide of a chain, None where it is none or broken."""
    residues = [r for r in chain if all(a in {atom.name for atom in r} for a in ATOMS[:4]) and letter_of(r)]
    if not MIN_LENGTH <= len(residues) <= 50:
        return None
    xyz = np.full((len(residues), 5, 3), np.nan)
    sulfur = np.full((len(residues), 3), np.nan)
    for place, residue in enumerate(residues):
        for atom in residue:
            name = "CB" if (residue.name, atom.name) == ("AIB", "CB1") else atom.name
            if name in ATOMS:
                xyz[place, ATOMS.index(name)] = atom.pos.tolist()
            if name == "SG":
                sulfur[place] = atom.pos.tolist()
    n, ca, c, _, cb = xyz.swapaxes(0, 1)
    if np.linalg.norm(c[:-1] - n[1:], axis=1).max() > 2.0:
        return None
    volume = ((n - ca) * np.cross(c - ca, cb - ca)).sum(axis=1)  # Angstrom^3, below zero for D
    codes = tuple(code_of(residue, v) for residue, v in zip(residues, volume.tolist(), strict=True))
    near = np.argwhere(np.triu(np.linalg.norm(sulfur[:, None] - sulfur, axis=-1) < 2.6, 1)) + 1
    bonds = [disulfide_bond(int(i), int(j)) for i, j in near]
    bonds += [ring_bond(len(codes))] if np.linalg.norm(c[-1] - n[0]) < 2.0 else []
    peptide = Peptide(codes, bonds=tuple(sorted(bonds)))
    gramicidin = "WLWLW" in peptide.sequence.replace("Y", "W").replace("F", "W")
    return Known(
        entry, "gramicidin" if gramicidin else FAMILIES.get(entry, entry), peptide, xyz, thioethers(residues)
    )


def thioethers(residues: Sequence[gemmi.Residue]) -> tuple[StatedBond, ...]:
    """Return the bonds of sulfur, or of the nitrogen of lysine, to a carbon of another residue."""
    atoms = [(place, atom) for place, residue in enumerate(residues, start=1) for atom in residue]
    ends = [(place, atom) for place, atom in atoms if atom.name in ("SG", "NZ")]
    bonds = []
    for place, end in ends:
        for other, atom in atoms:
            if other != place and atom.element.name == "C" and end.pos.dist(atom.pos) < 2.1:
                first, second = sorted([(place, end.name), (other, atom.name)])
                bonds.append(StatedBond(*first, *second))
    return tuple(bonds)


def letter_of(residue: gemmi.Residue) -> str:
    """Return the letter of the standard residue that stands for a residue, empty for what is none."""
    letter = PARENTS.get(residue.name) or gemmi.find_tabulated_residue(residue.name).one_letter_code.upper()
    return letter if letter.strip() and letter in ALPHABET else ""


def code_of(residue: gemmi.Residue, volume: float) -> str:
    """Return the known residue that comes nearest, of the hand that the coordinates have."""
    if residue.name in PLANAR:
        return "AC5"  # without a hand, as these are
    letter, hand = letter_of(residue), "" if np.isnan(volume) else "D" if volume < 0 else "L"
    if residue.name in RESIDUES and RESIDUES[residue.name].hand in ("", hand):
        return str(residue.name)
    return (D_THREE_LETTER if hand == "D" else THREE_LETTER)[letter]


class Families:
    """Medians and means with intervals, over families: each counts once, by the mean of its members."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self._index = np.unique(np.array(names), return_inverse=True)
        self._bootstrap = ClusterBootstrap(np.arange(len(self.names)), seed=0)

    def values(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of each family of (n,) values."""
        return np.bincount(self._index, weights=values) / np.bincount(self._index)

    def median(self, values: np.ndarray) -> str:
        """Return the median over families with its interval."""
        each = self.values(values)
        low, high = interval(self._bootstrap.median(each))
        return f"{np.median(each):6.2f} [{low:5.2f}, {high:5.2f}]"

    def mean(self, values: np.ndarray) -> str:
        """Return the mean over families with its interval."""
        each = self.values(values)
        low, high = interval(self._bootstrap.pooled_mean(each, np.ones(len(each))))
        return f"{each.mean():6.2f} [{low:5.2f}, {high:5.2f}]"


def ask(network: FoldingModel, known: Known, sequence: str) -> Folded:
    """Return the network's answer for a peptide read as these letters."""
    inputs: ModelInputs = collate([known.peptide])
    letters = collate([Peptide.of(sequence)], inputs.mask.shape[1]).residues
    return network(inputs._replace(residues=letters))


def density(folded: Folded, torsions: mx.array, defined: mx.array) -> np.ndarray:
    """Return the log density of each residue's (phi, psi), (L, 2), in nats for each angle."""
    length = len(torsions)
    mixture = folded.mixture
    own = TorsionMixture(mixture.log_weights[0, :length], mixture.centre, mixture.concentration)
    known = np.maximum(np.array(defined).sum(axis=1), 1)
    return np.array(own.log_density(torsions, defined)) / known


def distance_loss(folded: Folded, coordinates: np.ndarray) -> float:
    """Return the mean log loss of C-alpha distances of residues three or more apart, nats."""
    length = len(coordinates)
    ca = coordinates[:, 1]
    bins = np.searchsorted(EDGES, np.linalg.norm(ca[:, None] - ca, axis=-1))
    share = np.array(softmax(folded.distogram[:, :length, :length]))[0]
    right = np.take_along_axis(share, bins[..., None], axis=-1)[..., 0]
    return float(-np.log(np.maximum(right[np.triu_indices(length, 3)], 1e-6)).mean())


def report_readings(network: FoldingModel, peptides: Sequence[Known]) -> None:
    """Print how well each reading foretells torsions and distances."""
    torsion_names = ("as L", "mirrored L", "glycine", "second reading", "glycine and second")
    columns: list[list[float]] = []
    others, distances = [], []
    of_residue = []
    for number, known in enumerate(peptides):
        own, target = hands(known.peptide), known.target.astype(np.float32)
        found, defined = (array[:, :2] for array in backbone_torsions(mx.array(target[:, :3])))
        parent, first, second = (
            ask(network, known, s)
            for s in (known.peptide.sequence, *(reading(known.peptide, h) for h in (1, -1)))
        )
        as_l, glycine = density(parent, found, defined), density(first, found, defined)
        mirrored, again = density(parent, -found, defined), density(second, -found, defined)
        half = np.log(0.5 * np.exp(glycine) + 0.5 * np.exp(again))
        for place in np.flatnonzero(own < 0):
            columns.append([float(each[place]) for each in (as_l, mirrored, glycine, again, half)])
            of_residue.append(number)
        others.append([float(each[own > 0].mean()) for each in (as_l, glycine)])
        distances.append([distance_loss(folded, target) for folded in (parent, first, second)])
    families = Families([peptides[number].family for number in of_residue])
    print(f"\nLog density of (phi, psi) of {len(columns)} residues of the other hand, nats for each angle")
    table = np.array(columns)
    for k, name in enumerate(torsion_names):
        print(
            f"  {name:20s} {families.mean(table[:, k])}   over glycine {families.mean(table[:, k] - table[:, 2])}"
        )
    families = Families([known.family for known in peptides])
    by, away = np.array(others), np.array(distances)
    print("The same of the other residues; log loss of distances, nats")
    print(
        f"  parents {families.mean(by[:, 0])}   glycine for D over that {families.mean(by[:, 1] - by[:, 0])}"
    )
    print(
        f"  parents {families.mean(away[:, 0])}   glycine for D over that {families.mean(away[:, 1] - away[:, 0])}"
    )


def rmsds(prediction: Prediction, known: Known) -> np.ndarray:
    """Return the backbone RMSD of each model, Angstrom."""
    target = mx.array(
        np.broadcast_to(known.coordinates[:, :3], (len(prediction.coordinates), len(known.coordinates), 3, 3))
    )
    return np.array(
        metrics.backbone_rmsd(mx.array(prediction.coordinates[:, :, :3]), target.astype(mx.float32))
    )


def report_folds(predictor: Predictor, peptides: Sequence[Known]) -> list[Prediction]:
    """Print backbone RMSDs of first models; return the folds by the rule."""
    readings = {
        "all read as L": [as_letters(known.peptide, known.peptide.sequence) for known in peptides],
        "D as glycine": [as_letters(known.peptide, without_d(known.peptide)) for known in peptides],
        "by the rule": [known.peptide for known in peptides],
    }
    folds = {
        name: predictor.fold_many(chosen, samples=CANDIDATES, atoms="backbone")
        for name, chosen in readings.items()
    }
    table = {
        name: [rmsds(fold, known) for fold, known in zip(made, peptides, strict=True)]
        for name, made in folds.items()
    }
    print(f"\nBackbone RMSD of the first model, Angstrom (best of {CANDIDATES}): {', '.join(readings)}")
    for row, known in enumerate(peptides):
        other = (hands(known.peptide) < 0).sum()
        name = known.entry + "*" * (known.entry in THIOETHERS)
        each = "  ".join(f"{made[row][0]:5.2f} ({made[row].min():5.2f})" for made in table.values())
        print(f"  {name:6s} {len(known.peptide):3d} residues, {other:2d} of the other hand  {each}")
    free = np.array([known.entry not in THIOETHERS for known in peptides])
    for what, chosen in (("all", np.ones(len(peptides), dtype=bool)), ("without thioethers", free)):
        families = Families([known.family for known, kept in zip(peptides, chosen, strict=True) if kept])
        print(f"Medians over {len(families.names)} families, {what}: first, best; mean of first less as L")
        base = np.array([each[0] for each in table["all read as L"]])[chosen]
        for name, made in table.items():
            first, best = (np.array([f(each) for each in made])[chosen] for f in (lambda e: e[0], np.min))
            print(
                f"  {name:15s} {families.median(first)}  {families.median(best)}  {families.mean(first - base)}"
            )
    return folds["by the rule"]


def report_thioethers(predictor: Predictor, peptides: Sequence[Known]) -> None:
    """Print backbone RMSDs of peptides with thioethers that are stated, beside those of the same without them."""
    print(
        f"\nThioethers: stated, made; RMSD without and with them, first model (best of {CANDIDATES}), Angstrom"
    )
    rows = []
    for known in peptides:
        bonds = checked_bonds(known.peptide.residues, None, None, [*known.peptide.bonds, *known.thioethers])
        without, stated = (
            predictor.fold(peptide, samples=CANDIDATES, atoms="backbone")
            for peptide in (known.peptide, replace(known.peptide, bonds=bonds))
        )
        made = sum(bond.kind == "bond" and bond.formed for bond in stated.bonds[0])
        off = [
            value for fold in (without, stated) for value in (rmsds(fold, known)[0], rmsds(fold, known).min())
        ]
        rows.append(off)
        print(f"  {known.entry} {len(known.thioethers)} {made}", *(f"{value:6.2f}" for value in off))
    names = Families([known.family for known in peptides])
    table = np.array(rows, dtype=float).T
    print("  means:", *map(names.mean, table), "; with less without:", names.mean(table[2] - table[0]))


def as_letters(peptide: Peptide, sequence: str) -> Peptide:
    """Return the peptide of these standard residues, with the bonds of another one."""
    return replace(Peptide.of(sequence), bonds=peptide.bonds)


def without_d(peptide: Peptide) -> str:
    """Return the letters of a peptide with glycine for D."""
    return "".join(
        "G" if d else letter for letter, d in zip(peptide.sequence, peptide.d_residues, strict=True)
    )


def report_ranking(predictor: Predictor, peptides: Sequence[Known], judged: Sequence[Prediction]) -> None:
    """Print what the judge's first model and that of the network's own confidence are worth."""
    alone = Predictor(predictor.loaded, predictor.embedder, predictor.templates)
    families = Families([known.family for known in peptides])
    own = alone.fold_many([known.peptide for known in peptides], samples=CANDIDATES, atoms="backbone")
    print(
        "\nRanking: median RMSD of the first model; mean over families of first less mean of the candidates"
    )
    for name, made in (("the judge", judged), ("the network's confidence", own)):
        each = [rmsds(fold, known) for fold, known in zip(made, peptides, strict=True)]
        gain = np.array([e[0] - e.mean() for e in each])
        print(f"  {name:25s} {families.median(np.array([e[0] for e in each]))}  {families.mean(gain)}")


def report_confidence(peptides: Sequence[Known], folds: Sequence[Prediction]) -> None:
    """Print by how much the pLDDT is higher than the lDDT, before `CONFIDENCE_LOSS` is taken off."""
    excess: dict[str, list[tuple[str, float]]] = {}
    for known, fold in zip(peptides, folds, strict=True):
        ca = mx.array(known.coordinates[:, 1].astype(np.float32))
        true = 100 * np.array(metrics.lddt(mx.array(fold.coordinates[0][:, 1]), ca))
        kinds = np.where(hands(known.peptide) < 0, "other hand", "ordinary")
        kinds[[place - 1 for place in known.peptide.modified]] = "modified"
        mixed = " in mixed peptides" if has_foreign(known.peptide) else ""
        judged = fold.plddt[0] + CONFIDENCE_LOSS * has_foreign(known.peptide)
        for kind, more in zip(kinds, (judged - true).tolist(), strict=True):
            excess.setdefault(kind + mixed, []).append((known.family, more))
    print("\npLDDT less lDDT of first models, mean over families")
    for kind, found in sorted(excess.items()):
        families = Families([family for family, _ in found])
        points = families.mean(np.array([more for _, more in found]))
        print(f"  {kind:28s} {len(found):4d} residues, {len(families.names):2d} families {points}")


def main() -> None:
    """Measure everything."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    if not (folder / "INDEX.tsv").is_file():
        print(f"{folder} is not here: nothing measured")
        return
    everything = read_peptides(folder)
    mixed = [known for known in everything if (hands(known.peptide) < 0).any()]
    predictor = Predictor.load()
    print(
        f"{len(mixed)} peptides of {len({k.family for k in mixed})} families with residues of both hands; * thioethers"
    )
    report_readings(predictor.loaded.model, mixed)
    folds = report_folds(predictor, mixed)
    report_thioethers(predictor, [known for known in everything if known.thioethers])
    report_ranking(predictor, mixed, folds)
    others = [known for known in everything if not (hands(known.peptide) < 0).any()]
    print(f"\n{len(others)} further peptides with modified residues")
    report_confidence(
        [*mixed, *others],
        [*folds, *predictor.fold_many([known.peptide for known in others], atoms="backbone")],
    )


if __name__ == "__main__":
    main()
