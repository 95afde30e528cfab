"""Prompts for generated backbones: a coarse shape, a motif to build on, secondary structure."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.gradient import CA, C, N
from betafold_mlx.generate.fit_problem import FitProblem
from betafold_mlx.generate.scales import MIN_POINTS
from betafold_mlx.generate.validity import CA_BOND
from betafold_mlx.geometry import backbone_torsions
from betafold_mlx.gzipped import read_lines
from betafold_mlx.structure.backbone import ATOMS, peptide_bonds
from betafold_mlx.structure.parsing import parse_structure
from betafold_mlx.structure.residues import ReadResidue, read_chain

MAX_POINTS = 8
MIN_POINT_DISTANCE = 0.5  # Angstrom: points closer than that are taken for the same one
MIN_MOTIF = 4  # residues: three C-alphas are no shape
HELIX, STRAND, OPEN = "H", "E", "-"
MIN_RANGES = {HELIX: 5, STRAND: 4}  # shortest helix and strand that P-SEA finds, residues
_MOTIF = re.compile(r"(?:(?P<chain>[^:\s]*):)?(?P<first>-?[0-9]+[A-Za-z]?)-(?P<last>-?[0-9]+[A-Za-z]?)")
_RANGE = re.compile(r"([0-9]{1,4})-([0-9]{1,4})")


@dataclass(frozen=True)
class CoarseShape:
    """A shape to follow."""

    points: np.ndarray  # (k, 3) float32 Angstrom, along the chain from its N to its C end
    source: str


@dataclass(frozen=True)
class MotifPrompt:
    """A piece of a structure that the generated chain has to contain."""

    start: int  # 0-based place of its first residue in the generated chain
    coordinates: np.ndarray  # (m, 4, 3) float32 Angstrom: N, CA, C, O
    # (m, 3) float64 radians of the nearest ideal backbone, NaN where they depend on what is around it: phi of the
    # first, psi and omega of the last residue.
    torsions: np.ndarray
    source: str  # file, chain and residues

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def trace(self) -> np.ndarray:
        """(m, 3) C-alphas, Angstrom."""
        return self.coordinates[:, 1]


def read_points(path: Path) -> CoarseShape:
    """Read a coarse shape: ``x,y,z`` a line, 3 to 8 lines, Angstrom; one header line may stand above."""
    points: list[list[float]] = []
    for number, line in enumerate(read_lines(path), start=1):
        cells = [cell.strip() for cell in line.split(",")]
        if not any(cells) or (not points and _is_header(cells)):
            continue
        try:
            point = [float(cell.replace("_", "?")) for cell in cells]  # Python reads 1_0 as 10
        except ValueError:
            point = []
        if len(point) != 3 or not all(map(math.isfinite, point)):
            raise BetafoldError(
                f"{path}, line {number}: x,y,z as three numbers are needed, not {line.strip()!r:.60}"
            )
        points.append(point)
        if len(points) > MAX_POINTS:
            break
    return CoarseShape(_checked_points(points, str(path)), str(path))


def _checked_points(points: Sequence[Sequence[float]], source: str) -> np.ndarray:
    count = len(points)
    if not MIN_POINTS <= count <= MAX_POINTS:
        found = (
            f"{count} point{'s' * (count != 1)}" if count <= MAX_POINTS else f"more than {MAX_POINTS} points"
        )
        raise BetafoldError(f"{source} has {found}: a coarse shape has {MIN_POINTS} to {MAX_POINTS}")
    array = np.array(points)
    if np.abs(array).max() >= 1e4:
        raise BetafoldError(f"{source}: a coordinate is 10000 A or more")
    for i, j in itertools.combinations(range(count), 2):
        if np.linalg.norm(array[i] - array[j]) < MIN_POINT_DISTANCE:
            same = f"points {i + 1} and {j + 1} are the same"
            raise BetafoldError(f"{source}: {same} (within {MIN_POINT_DISTANCE:g} A)")
    return array.astype(np.float32)


def _is_header(cells: Sequence[str]) -> bool:
    """Tell a line of names from a first point that is damaged: NaN and infinity are numbers."""
    names = all(re.fullmatch(r"[A-Za-z_][\w ()]*", cell) for cell in cells)
    return len(cells) == 3 and names and not {"nan", "inf", "infinity"} & {cell.lower() for cell in cells}


def check_points(shape: CoarseShape, length: int, cyclic: bool = False) -> None:
    """Check that a chain of so many residues, open or a ring, can follow a shape; BetafoldError where it cannot."""
    points = shape.points.astype(np.float64)
    if len(points) > length:
        raise BetafoldError(
            f"{shape.source} has {len(points)} points: more than the {length} residues of the chain"
        )
    line = np.concatenate([points, points[:1]]) if cyclic else points
    if not np.isfinite(points).all():
        raise BetafoldError(f"{shape.source}: a coordinate is not finite")
    contour = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
    reach = CA_BOND * (length if cyclic else length - 1)
    if contour > reach:
        around = "around their ring" if cyclic else "along their line"
        raise BetafoldError(
            f"{shape.source}: the points are {contour:.0f} A apart {around}, and {length} residues reach "
            f"{reach:.0f} A: take a longer chain, or points that are nearer"
        )


def read_motif(path: Path, residues: str, at: int) -> MotifPrompt:
    """Read a motif from a PDB or mmCIF file, plain or gzipped; its first model counts.

    `residues` are a chain and the author's numbers, both ends included, as ``A:5-12``, or ``5-12`` of a single chain;
    `at` is the 1-based place of the first one in the generated chain.
    """
    found = _MOTIF.fullmatch(residues.strip())
    if found is None:
        raise BetafoldError(f"--residues {residues!r:.40}: write chain and residues, as A:5-12")
    if at < 1:
        raise BetafoldError(f"--at {at}: residues of the generated chain are counted from 1")
    source = f"{path.name} {residues.strip()}"
    chosen = _residues_between(path, found["chain"], found["first"], found["last"])
    for residue in chosen:
        if residue.problem is not None:
            raise BetafoldError(f"motif {source}: residue {residue.number} {residue.name}: {residue.problem}")
    atoms = np.stack([residue.atoms[: len(ATOMS)] for residue in chosen])
    unbroken = peptide_bonds(atoms)
    if not unbroken.all():
        gap = int(np.argmin(unbroken))
        distance = np.linalg.norm(atoms[gap, 2] - atoms[gap + 1, 0])
        raise BetafoldError(
            f"motif {source}: the chain is broken between {chosen[gap].number} and {chosen[gap + 1].number} "
            f"(C-N {distance:.1f} A): take an unbroken stretch"
        )
    if len(chosen) < MIN_MOTIF:
        raise BetafoldError(f"motif {source} has {len(chosen)} residues: a motif has {MIN_MOTIF} or more")
    return motif_of(atoms, at - 1, source)


def motif_of(atoms: np.ndarray, start: int, source: str) -> MotifPrompt:
    """Return the motif of a backbone (m, 4, 3), N, CA, C, O in Angstrom, at a 0-based place."""
    coordinates = (atoms - atoms[:, 1].mean(axis=0)).astype(np.float32)
    return MotifPrompt(start, coordinates, _ideal_torsions(coordinates), source)


def check_motif(motif: MotifPrompt, length: int) -> None:
    """Check that a motif lies inside a chain of so many residues; BetafoldError where it does not."""
    if not np.isfinite(motif.coordinates).all():
        raise BetafoldError(f"motif {motif.source}: a coordinate is not finite")
    if len(motif) > length:
        raise BetafoldError(
            f"motif {motif.source} has {len(motif)} residues, and the chain {length}: make it longer"
        )
    end = motif.start + len(motif)
    if end > length:
        raise BetafoldError(
            f"motif {motif.source} of {len(motif)} residues at {motif.start + 1} would end at {end}, behind the end of "
            f"the chain of {length}: --at can be 1 to {length - len(motif) + 1}"
        )


def secondary_text(helices: Iterable[str], strands: Iterable[str], length: int) -> str | None:
    """Return the requested secondary structure of so many residues, H, E or ``-``; None where there is no range.

    Ranges are of 1-based residues, ``3-14``; several with commas.
    """
    letters = [OPEN] * length
    for letter, option, texts in ((HELIX, "--helix", helices), (STRAND, "--strand", strands)):
        for text in (part.strip() for each in texts for part in each.split(",")):
            found = _RANGE.fullmatch(text)
            if found is None:
                raise BetafoldError(f"{option} {text!r:.40}: write a range of residues, as 3-14")
            first, last = int(found[1]), int(found[2])
            if not 1 <= first <= last <= length:
                raise BetafoldError(f"{option} {text}: residues run from 1 to {length}, the lower first")
            if last - first + 1 < MIN_RANGES[letter]:
                raise BetafoldError(f"{option} {text}: {MIN_RANGES[letter]} residues or more are needed")
            if set(letters[first - 1 : last]) != {OPEN}:
                raise BetafoldError(f"{option} {text} overlaps another range")
            letters[first - 1 : last] = [letter] * (last - first + 1)
    return None if set(letters) == {OPEN} else "".join(letters)


def _residues_between(path: Path, chain: str | None, first: str, last: str) -> list[ReadResidue]:
    """Return the residues from one number to another of a chain, in file order."""
    model = parse_structure(path, first_model_only=True)[0]
    read = [(each.name, residues) for each in model for residues in read_chain(each)]
    proteins = [(name, residues) for name, residues in read if any(r.letter for r in residues)]
    names = list(dict.fromkeys(name for name, _ in proteins))
    if not names:
        raise BetafoldError(f"{path} has no protein chain")
    if chain is None:
        if len(names) > 1:
            raise BetafoldError(
                f"{path} has the chains {', '.join(names)}: say which, as {names[0]}:{first}-{last}"
            )
        chain = names[0]
    if chain not in names:
        raise BetafoldError(f"{path} has no protein chain {chain!r:.20}: it has {', '.join(names)}")
    residues = [residue for name, part in proteins if name == chain for residue in part]
    numbers = [residue.number for residue in residues]
    for number in (first, last):
        if number.upper() not in numbers:
            raise BetafoldError(
                f"{path} has no residue {number} in chain {chain}, which runs from {numbers[0]} to {numbers[-1]}"
            )
    start, end = (numbers.index(number.upper()) for number in (first, last))
    if end < start:
        raise BetafoldError(f"--residues {chain}:{first}-{last}: the first residue stands behind the last")
    return residues[start : end + 1]


def _ideal_torsions(coordinates: np.ndarray) -> np.ndarray:
    """Return the torsions (m, 3) of the ideal backbone nearest to (m, 4, 3), NaN where the motif does not say them."""
    native, _ = backbone_torsions(mx.array(coordinates))
    start = np.array(native)[None].astype(np.float64)
    targets, unknown = coordinates[None, :, :3].astype(np.float64), np.full(start.shape, np.nan)
    problem = FitProblem(targets, (N, CA, C), start, unknown, "ALA", np.array([len(coordinates)]))
    (fit,) = problem.solve()
    torsions = fit.torsions.astype(np.float64)
    torsions[0, 0] = torsions[-1, 1] = torsions[-1, 2] = np.nan
    return torsions
