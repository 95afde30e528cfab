"""Relaxation of all-atom models with OpenMM: hydrogens, then minimisation in implicit solvent.

AMBER ff14SB (J. A. Maier et al., J. Chem. Theory Comput. 11, 3696 (2015)) with GBn2 (H. Nguyen, D. R. Roe and
C. Simmerling, J. Chem. Theory Comput. 9, 2020 (2013)). OpenMM has no D residues: each is given to it as its L residue
with the coordinates as they are, for no term of this force field knows left from right (but the radii of GBn2 know the
names of residues).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.residue_table import BACKBONE, RESIDUES
from betafold_mlx.peptide.sequence import THREE_LETTER
from betafold_mlx.structure.components import CAP_ATOMS, CAP_BONDS, CAP_HYDROGENS

if TYPE_CHECKING:
    from openmm import Context
    from openmm.app import ForceField, Modeller, Topology

DEFAULT_PH = 7.0

RESTRAINT = 1000.0
"""kJ/mol/nm^2 that holds N, CA, C and O: 2.4 kcal/mol/A^2."""

TOLERANCE = 10.0
"""kJ/mol/nm: root mean square of the forces at which minimisation ends. A tenth of it takes three times as long and
brings 5 kJ/mol of 580 more."""

FORCE_FIELD = ("amber14/protein.ff14SB.xml", "implicit/gbn2.xml")

CAPS = ("ACE", "NH2", "NME")
"""Groups at the ends that the force field has."""

_USUAL = ("ASP", "GLU", "LYS", "CYS")
"""At the ends of a chain the force field has these as they are at pH 7 alone."""

_MOLECULE, _SOLVENT, _RESTRAINT = 0, 1, 2  # groups of forces

Atoms = Mapping[str, np.ndarray]
"""Coordinates (3,) of the atoms of a residue by name, Angstrom."""

Link = tuple[int, str, int, str]
"""A bond between atoms of two residues, which are counted from 0, caps too."""


class CannotRelaxError(BetafoldError):
    """The force field does not know what the model is made of; the model is right all the same."""


@dataclass(frozen=True)
class Relaxed:
    """A relaxed model.

    Attributes
    ----------
    atoms : tuple of mapping
        `Atoms` of each residue: its heavy atoms in their order, each followed by its hydrogens.
    energy_before, energy_after : float
        kJ/mol, of the model as given with minimised hydrogens, and relaxed; without the restraint.
    rmsd, moved : float
        Root mean square and maximum of how far the heavy atoms have moved, Angstrom.
    """

    atoms: tuple[Atoms, ...]
    energy_before: float
    energy_after: float
    rmsd: float
    moved: float


def check_openmm() -> None:
    """Raise BetafoldError where OpenMM is not installed."""
    if find_spec("openmm") is None:
        raise BetafoldError("--relax needs OpenMM: pip install 'betafold-mlx[relax]', or pip install openmm")


def relax(
    residues: Sequence[str],
    models: Sequence[Sequence[Atoms]],
    links: Sequence[Link] = (),
    ph: float = DEFAULT_PH,
) -> list[Relaxed]:
    """Add hydrogens to models of a peptide and minimise them; all get the same hydrogens.

    Parameters
    ----------
    residues : sequence of str
        CCD codes of the residues, of `CAPS` at the ends too.
    models : sequence of sequence of Atoms
        Heavy atoms of each residue of each model, with OXT where the end is free.
    links : sequence of Link
        Bonds between residues beside those from each to the next: of a ring, of disulfides.
    ph : float
        Decides which side chains carry a proton; the first model decides which nitrogen of HIS does.

    Raises
    ------
    CannotRelaxError
        For a residue or a bond that the force field does not have.
    BetafoldError
        OpenMM is not there.
    """
    check_openmm()
    from openmm import unit
    from openmm.app import ForceField, Modeller

    _demand([_name(code) is not None for code in residues], residues, "")
    whole = [
        set(_elements(code)) - {"OXT"} <= set(one) for code, one in zip(residues, models[0], strict=True)
    ]
    _demand(whole, residues, " with these atoms")
    topology = _topology(residues, models[0], links)
    force_field = ForceField(*FORCE_FIELD)
    variants = _variants(residues, links, ph)
    relaxed = []
    with _one_thread() as platform:
        for atoms in models:
            start = np.concatenate([np.stack(list(one.values())) for one in atoms]).astype(np.float64) / 10
            modeller = Modeller(topology, start * unit.nanometer)
            variants = _add_hydrogens(modeller, variants, ph, platform)
            unmatched = {residue.index for residue in force_field.getUnmatchedResidues(modeller.topology)}
            known = [place not in unmatched for place in range(len(residues))]
            _demand(known, residues, " with these bonds")
            before, after, positions = _minimised(modeller, force_field, platform)
            relaxed.append(_relaxed(modeller.topology, start, positions, before, after))
    return relaxed


def _relaxed(
    topology: Topology, start: np.ndarray, positions: np.ndarray, before: float, after: float
) -> Relaxed:
    """Return the result of a model from positions (n, 3) and those of its heavy atoms before, nm."""
    heavy = np.array([atom.element.symbol != "H" for atom in topology.atoms()])
    moved = 10 * np.linalg.norm(positions[heavy] - start, axis=1)
    return Relaxed(
        tuple(
            {atom.name: 10 * positions[atom.index] for atom in residue.atoms()}
            for residue in topology.residues()
        ),
        before,
        after,
        float(np.sqrt(np.square(moved).mean())),
        float(moved.max()),
    )


def _demand(known: Sequence[bool], residues: Sequence[str], how: str) -> None:
    """Raise CannotRelaxError with the residues that are not known."""
    if not all(known):
        places = [f"{code} at {place}" for place, code in enumerate(residues, 1) if not known[place - 1]]
        raise CannotRelaxError(f"not relaxed: the force field has no {', '.join(places)}{how}")


def _elements(code: str) -> dict[str, str]:
    """Return the heavy atoms that a residue may have and their elements."""
    if code in CAPS:
        return {atom: atom[0] for atom in CAP_ATOMS[code]}
    return {**RESIDUES[code].elements, "OXT": "O"}


def _name(code: str) -> str | None:
    """Return the name by which OpenMM knows a residue, None where the force field has none."""
    if code in CAPS or code == "HYP":
        return code
    if code not in RESIDUES:
        return None
    known = RESIDUES[code]
    like = RESIDUES[THREE_LETTER[known.parent]]
    same = known.elements == like.elements and set(known.bonds) == set(like.bonds)
    return like.code if same else None


def _topology(residues: Sequence[str], atoms: Sequence[Atoms], links: Sequence[Link]) -> Topology:
    """Build the topology of the heavy atoms."""
    from openmm.app import Element, Topology

    topology = Topology()
    chain = topology.addChain("A")
    made: list[dict[str, Any]] = []
    for code, present in zip(residues, atoms, strict=True):
        elements = _elements(code)
        residue = topology.addResidue(_name(code), chain)
        made.append(
            {
                name: topology.addAtom(name, Element.getBySymbol(elements[name].capitalize()), residue)
                for name in present
            }
        )
        for one, other, _ in CAP_BONDS[code] if code in CAPS else RESIDUES[code].bonds:
            topology.addBond(made[-1][one], made[-1][other])
        if "OXT" in present:
            topology.addBond(made[-1]["C"], made[-1]["OXT"])
        if len(made) > 1:
            topology.addBond(made[-2]["C"], made[-1]["N"])
    for i, atom_i, j, atom_j in links:
        topology.addBond(made[i][atom_i], made[j][atom_j])
    return topology


def _variants(residues: Sequence[str], links: Sequence[Link], ph: float) -> list[Any]:
    """Return the hydrogens of what OpenMM does not know: HYP, that the ends of a ring are no ends, names in caps."""
    bonded = {(place, name) for i, atom_i, j, atom_j in links for place, name in ((i, atom_i), (j, atom_j))}
    variants: list[Any] = [None] * len(residues)
    for place, code in enumerate(residues):
        closed = (place, "N") in bonded or (place, "C") in bonded
        if code in CAPS:
            variants[place] = _pairs(CAP_HYDROGENS[code])
        elif closed or code == "HYP":
            variants[place] = _inner_hydrogens(str(_name(code)), ph, (place, "SG") in bonded)
        elif place in (0, len(residues) - 1) and _name(code) in _USUAL and (place, "SG") not in bonded:
            variants[place] = _name(code)
    return variants


def _add_hydrogens(modeller: Modeller, variants: list[Any], ph: float, platform: Any) -> list[Any]:
    """Add the hydrogens that OpenMM finds right at this pH, and return which they are."""
    state = random.getstate()
    random.seed(0)  # OpenMM draws where it starts from
    try:
        actual = modeller.addHydrogens(pH=ph, variants=variants, platform=platform)
    finally:
        random.setstate(state)
    return list(actual)


def _inner_hydrogens(code: str, ph: float, bonded: bool) -> list[tuple[str, str]]:
    """Return the hydrogens of a residue inside a chain and their parents, by the pKa of OpenMM's own table."""
    absent = {
        "D": {"HD2"} if ph > 4.4 else set(),
        "E": {"HE2"} if ph > 4.4 else set(),
        "H": {"HD1"} if ph > 6.5 else set(),
        "C": {"HG"} if bonded or ph > 8.5 else set(),
        "K": {"HZ3"} if ph > 10.0 else set(),
    }.get(RESIDUES[code].parent, set())
    return [(name, parent) for name, parent in _pairs(RESIDUES[code].hydrogens) if name not in absent]


def _pairs(hydrogens: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return hydrogens with the atoms that carry them."""
    return [(name, parent) for parent, names in hydrogens.items() for name in names]


def _minimised(modeller: Modeller, force_field: ForceField, platform: Any) -> tuple[float, float, np.ndarray]:
    """Return the energies before and after, kJ/mol, and the positions (n, 3) after, nm."""
    from openmm import Context, CustomExternalForce, LocalEnergyMinimizer, VerletIntegrator, unit
    from openmm.app import NoCutoff

    system = force_field.createSystem(modeller.topology, nonbondedMethod=NoCutoff)
    for force in system.getForces():
        force.setForceGroup(_SOLVENT if force.getName() == "CustomGBForce" else _MOLECULE)
    atoms = list(modeller.topology.atoms())
    hold = CustomExternalForce("0.5*k*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
    hold.addGlobalParameter("k", RESTRAINT)
    hold.setForceGroup(_RESTRAINT)
    for name in ("x0", "y0", "z0"):
        hold.addPerParticleParameter(name)
    for atom, position in zip(atoms, modeller.positions.value_in_unit(unit.nanometer), strict=True):
        if atom.name in BACKBONE:
            hold.addParticle(atom.index, list(position))
    system.addForce(hold)

    def minimise(positions: Any, groups: set[int]) -> tuple[float, Any]:
        integrator = VerletIntegrator(0.001)
        integrator.setIntegrationForceGroups(groups)  # the forces that the minimiser sees
        context: Context = Context(system, integrator, platform)
        context.setPositions(positions)
        LocalEnergyMinimizer.minimize(context, TOLERANCE)
        state = context.getState(positions=True, energy=True, groups={_MOLECULE, _SOLVENT})
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        return float(energy), state.getPositions(asNumpy=True)

    masses = [system.getParticleMass(atom.index) for atom in atoms]
    for atom in atoms:
        if atom.element.symbol != "H":
            system.setParticleMass(atom.index, 0)  # stays where it is
    before, positions = minimise(modeller.positions, {_MOLECULE})  # without the solvent: ten times as fast
    for atom, mass in zip(atoms, masses, strict=True):
        system.setParticleMass(atom.index, mass)
    after, positions = minimise(positions, {_MOLECULE, _SOLVENT, _RESTRAINT})
    return before, after, np.array(positions.value_in_unit(unit.nanometer))


@contextmanager
def _one_thread() -> Iterator[Any]:
    """Give the CPU platform with one thread, which gives the same numbers each time."""
    from openmm import Platform

    platform = Platform.getPlatformByName("CPU")
    given = {"Threads": "1", "DeterministicForces": "true"}
    usual = {name: platform.getPropertyDefaultValue(name) for name in given}
    for name, value in given.items():
        platform.setPropertyDefaultValue(name, value)
    try:
        yield platform
    finally:
        for name, value in usual.items():
            platform.setPropertyDefaultValue(name, value)
