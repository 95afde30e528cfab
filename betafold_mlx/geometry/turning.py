"""What the angles of a peptide turn: each moves the atoms behind its bond as one body.

Structures are turned from where they stand. So bond lengths and angles stay as they are to the last digit, and no
residue is built again: the place of a body is the product of the turns of all angles before it, each about its bond as
it stood at first (the product of exponentials of robotics).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import Peptide

Atom = tuple[int, str]
"""1-based place and name."""


class Turning:
    """The angles of a peptide, A = 3 L + X: phi, psi, omega of its L residues, then X chi angles.

    Attributes
    ----------
    rows : dict of Atom to int
        The U atoms that are moved, in their order.
    chi : numpy.ndarray
        (X, 2) int: residue, from 0, and number of each chi angle.
    behind : numpy.ndarray
        (U, A) 1 where an angle moves an atom, else 0.
    """

    def __init__(
        self, peptide: Peptide, atoms: Sequence[Atom], chi: Sequence[tuple[int, int]] | None = None
    ) -> None:
        """Take the atoms of a peptide, N, CA and C of all residues among them, and which chi angles turn (all)."""
        self.rows = {atom: number for number, atom in enumerate(atoms)}
        self._chain = 3 * len(peptide)
        bonds, of_atom = [], np.zeros(len(atoms), dtype=int)
        angles: list[tuple[int, int]] = []
        parents: list[int] = []
        ends: list[tuple[int, int]] = []
        for i, code in enumerate(peptide.residues):
            n, ca, c = (self.rows[i + 1, name] for name in ("N", "CA", "C"))
            bonds += [(n, ca), (ca, c), (c, self.rows.get((i + 2, "N"), ca))]
            kind = RESIDUES[code]
            body = dict.fromkeys((*kind.elements, "OXT"), 3 * i + 1)
            body |= dict.fromkeys(("N", "CA"), 3 * i) | dict.fromkeys(("O", "OXT"), 3 * i + 2)
            body |= {row.atom: 3 * i for row in kind.placements[0] if row.turn == "phi"}
            for number, (_, begin, end, _) in enumerate(kind.chi):
                moved = kind.turned(number)
                if moved and (chi is None or (i, number) in chi):
                    parents.append(body[end])
                    angles.append((i, number))
                    ends.append((self.rows[i + 1, begin], self.rows[i + 1, end]))
                    body |= dict.fromkeys(moved, self._chain + len(angles))
            for name, number in body.items():
                if (i + 1, name) in self.rows:
                    of_atom[self.rows[i + 1, name]] = number
        self.chi = np.array(angles, dtype=int).reshape(-1, 2)
        self._bonds = np.array(bonds + ends).T
        self._body = of_atom
        self._parents = np.array(parents, dtype=int)
        path = np.zeros((1 + self._chain + len(angles), self._chain + len(angles)))
        path[: self._chain + 1, : self._chain] = np.tri(self._chain + 1, self._chain, -1)
        path[:, 0] = 0.0  # phi of the first residue moves nothing (`betafold_mlx.geometry.build_backbone`)
        for angle, parent in enumerate(parents, start=self._chain):
            path[angle + 1] = path[parent]
            path[angle + 1, angle] = 1.0
        self.behind = path[of_atom]

    def turned(self, points: np.ndarray, by: np.ndarray) -> np.ndarray:
        """Return points (n, U, 3) Angstrom with their angles turned by (n, A) radians."""
        along, ends = self._axes(points)
        move = np.zeros((*by.shape, 4, 4))
        move[..., :3, :3] = _rotations(along, by)
        move[..., :3, 3] = ends - (move[..., :3, :3] @ ends[..., None])[..., 0]
        move[..., 3, 3] = 1.0
        place = np.empty((len(by), by.shape[1] + 1, 4, 4))
        place[:, :2] = np.eye(4)  # phi of the first residue
        for angle in range(1, self._chain):
            np.matmul(place[:, angle], move[:, angle], out=place[:, angle + 1])
        numbers = self.chi[:, 1]
        for number in range(numbers.max(initial=-1) + 1):
            angles = np.flatnonzero(numbers == number)
            place[:, self._chain + 1 + angles] = (
                place[:, self._parents[angles]] @ move[:, self._chain + angles]
            )
        own = place[:, self._body]
        return (own[..., :3, :3] @ points[..., None])[..., 0] + own[..., :3, 3]

    def axes(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the directions u of the angles' bonds, and u x p with a point p of each: (n, A, 3) twice.

        An angle moves an atom x behind it by u x (x - p); along a pull g that is (x x g) . u - g . (u x p).
        """
        along, ends = self._axes(points)
        return along, np.cross(along, ends)

    def _axes(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ends = points[:, self._bonds[1]]
        along = ends - points[:, self._bonds[0]]
        along /= np.linalg.norm(along, axis=-1, keepdims=True)
        return along, ends


def _rotations(axes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return rotations (..., 3, 3) about unit axes (..., 3) by angles (...), radians."""
    x, y, z = np.moveaxis(axes, -1, 0)
    zero = np.zeros_like(x)
    across = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    s, c = np.sin(angles)[..., None, None], np.cos(angles)[..., None, None]
    return c * np.eye(3) + s * across + (1.0 - c) * (axes[..., :, None] * axes[..., None, :])
