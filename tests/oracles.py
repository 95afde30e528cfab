"""Independent float64 oracles: numpy, one atom or one pair at a time, as a textbook would write them.

Nothing here imports the package. The ideal values are typed in a second time, so that a slip in either table
shows.
"""

import math
from itertools import combinations

import numpy as np

ALPHABET = "ACDEFGHIKLMNPQRSTVWY"

IDEAL = {  # Engh & Huber 2001: Angstrom and degrees
    "peptide": {"N-CA": 1.459, "CA-C": 1.525, "C-O": 1.229, "CA-CB": 1.532, "C-N": 1.336},
    "proline": {"N-CA": 1.468, "CA-C": 1.524, "C-O": 1.228, "CA-CB": 1.531, "C-N": 1.338},
    "glycine": {"N-CA": 1.456, "CA-C": 1.514, "C-O": 1.232, "CA-CB": 1.532, "C-N": 1.326},
}
IDEAL["peptide"] |= {"N-CA-C": 111.0, "N-CA-CB": 110.6, "C-CA-CB": 110.6, "CA-C-N": 117.2, "CA-C-O": 120.1}
IDEAL["proline"] |= {"N-CA-C": 112.1, "N-CA-CB": 103.1, "C-CA-CB": 111.8, "CA-C-N": 117.1, "CA-C-O": 120.2}
IDEAL["glycine"] |= {"N-CA-C": 113.1, "N-CA-CB": 110.6, "C-CA-CB": 110.6, "CA-C-N": 116.2, "CA-C-O": 120.6}
IDEAL["peptide"]["C-N-CA"], IDEAL["proline"]["C-N-CA"], IDEAL["glycine"]["C-N-CA"] = 121.7, 119.3, 122.3


def ideal(name, residue, following=None):
    """Return an ideal length, or angle in radians, for a residue letter and the letter after it (None at the
    end).

    C-N and C-N-CA are asked for with the residue that carries the N.
    """
    if name in ("CA-C-N", "CA-C-O") and following == "P":
        residue = "P"
    elif name in ("CA-C-N", "CA-C-O") and residue == "P":
        residue = "A"  # the bond after a proline is an ordinary one
    value = IDEAL[{"P": "proline", "G": "glycine"}.get(residue, "peptide")][name]
    return math.radians(value) if name.count("-") == 2 else value


def unit(v):
    return v / np.linalg.norm(v)


def angle(a, b, c):
    u, v = unit(a - b), unit(c - b)
    return math.acos(max(-1.0, min(1.0, float(u @ v))))


def dihedral(a, b, c, d):
    """Return the angle between the planes a, b, c and b, c, d, with its sign."""
    u, v = unit(np.cross(b - a, c - b)), unit(np.cross(c - b, d - c))
    size = math.acos(max(-1.0, min(1.0, float(u @ v))))
    return size if np.dot(np.cross(u, v), c - b) >= 0 else -size


def place_atom(a, b, c, length, bond_angle, torsion):
    """Return atom d with |c-d| = length, angle b-c-d and dihedral a-b-c-d (Parsons et al. 2005)."""
    bc = unit(c - b)
    normal = unit(np.cross(b - a, bc))
    in_plane = np.cross(normal, bc)
    return c + length * (
        -math.cos(bond_angle) * bc
        + math.sin(bond_angle) * math.cos(torsion) * in_plane
        + math.sin(bond_angle) * math.sin(torsion) * normal
    )


def place_cb(n, ca, c, residue):
    """Return CB from its two angles; of the two solutions the one that makes an L residue."""
    u, v = unit(n - ca), unit(c - ca)
    cos_n, cos_c = math.cos(ideal("N-CA-CB", residue)), math.cos(ideal("C-CA-CB", residue))
    along_u, along_v = np.linalg.solve([[1.0, u @ v], [u @ v, 1.0]], [cos_n, cos_c])
    in_plane = along_u * u + along_v * v
    out_of_plane = math.sqrt(1.0 - in_plane @ in_plane) * unit(np.cross(u, v))
    return ca + ideal("CA-CB", residue) * (in_plane + out_of_plane)


def build_backbone(torsions, sequence):
    """Return (L, 5, 3) N, CA, C, O, CB from torsions (L, 3) in radians, atom after atom."""
    torsions = np.asarray(torsions, dtype=np.float64)
    first = sequence[0]
    n_angle = ideal("N-CA-C", first)
    n = ideal("N-CA", first) * np.array([math.cos(n_angle), math.sin(n_angle), 0.0])
    ca, c = np.zeros(3), np.array([ideal("CA-C", first), 0.0, 0.0])
    atoms = []
    for i, residue in enumerate(sequence):
        following = sequence[i + 1] if i + 1 < len(sequence) else None
        _, psi, omega = torsions[i]
        o_angle = ideal("CA-C-O", residue, following)
        o = place_atom(n, ca, c, ideal("C-O", residue), o_angle, psi + math.pi)
        atoms.append([n, ca, c, o, place_cb(n, ca, c, residue)])
        if following is not None:
            n_angle = ideal("CA-C-N", residue, following)
            next_n = place_atom(n, ca, c, ideal("C-N", following), n_angle, psi)
            next_ca = place_atom(ca, c, next_n, ideal("N-CA", following), ideal("C-N-CA", following), omega)
            next_c = place_atom(
                c, next_n, next_ca, ideal("CA-C", following), ideal("N-CA-C", following), torsions[i + 1][0]
            )
            n, ca, c = next_n, next_ca, next_c
    return np.array(atoms)


def backbone_torsions(coordinates):
    """Return (L, 3) phi, psi, omega; NaN where undefined."""
    length = len(coordinates)
    torsions = np.full((length, 3), np.nan)
    for i in range(length):
        n, ca, c = coordinates[i][:3]
        if i > 0:
            torsions[i, 0] = dihedral(coordinates[i - 1][2], n, ca, c)
        if i + 1 < length:
            next_n, next_ca = coordinates[i + 1][:2]
            torsions[i, 1] = dihedral(n, ca, c, next_n)
            torsions[i, 2] = dihedral(ca, c, next_n, next_ca)
    return torsions


def kabsch(mobile, target):
    """Return rotation, translation and RMSD of the best proper superposition, by SVD (Kabsch 1976, 1978)."""
    mobile, target = np.asarray(mobile, np.float64), np.asarray(target, np.float64)
    a, b = mobile.mean(axis=0), target.mean(axis=0)
    u, _, vt = np.linalg.svd((mobile - a).T @ (target - b))
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = vt.T @ np.diag([1.0, 1.0, sign]) @ u.T
    translation = b - rotation @ a
    return rotation, translation, rms_distance(mobile @ rotation.T + translation, target)


def rms_distance(a, b):
    total = 0.0
    for p, q in zip(np.asarray(a, np.float64), np.asarray(b, np.float64), strict=True):
        total += float((p - q) @ (p - q))
    return math.sqrt(total / len(a))


def distance_differences(predicted, target):
    """Return d_ij - d'_ij of all pairs i < j."""
    predicted, target = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    return [
        np.linalg.norm(predicted[i] - predicted[j]) - np.linalg.norm(target[i] - target[j])
        for i, j in combinations(range(len(target)), 2)
    ]


def lddt(predicted, target):
    """Return the lDDT of each residue, and of the chain over all pairs (Mariani et al. 2013)."""
    predicted, target = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    per_residue, all_kept = [], []
    for i in range(len(target)):
        kept = []
        for j in range(len(target)):
            true = np.linalg.norm(target[i] - target[j])
            if i != j and true <= 15.0:
                error = abs(np.linalg.norm(predicted[i] - predicted[j]) - true)
                kept.append(sum(error <= threshold for threshold in (0.5, 1.0, 2.0, 4.0)) / 4.0)
        per_residue.append(sum(kept) / len(kept) if kept else 0.0)
        all_kept += kept
    return np.array(per_residue), (sum(all_kept) / len(all_kept) if all_kept else 0.0)


def gdt_ts(predicted, target):
    """Return GDT_TS over the best superpositions of *every* subset of three or more points. For few points
    only."""
    predicted, target = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    length = len(target)
    best = [0] * 4
    for size in range(3, length + 1):
        for subset in combinations(range(length), size):
            rotation, translation, _ = kabsch(predicted[list(subset)], target[list(subset)])
            error = np.linalg.norm(predicted @ rotation.T + translation - target, axis=1)
            best = [max(b, int((error <= d).sum())) for b, d in zip(best, (1.0, 2.0, 4.0, 8.0), strict=True)]
    return sum(best) / (4.0 * length)


def gdt_ts_search(predicted, target):
    """Return GDT_TS as the package documents its search: windows, each fitted four times. For any length."""
    predicted, target = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    length = len(target)
    seeds = [range(length)]
    for size in (3, 4, 6, 8, 12, 16, 24):
        seeds += [range(start, start + size) for start in range(length - size + 1)]
    score = 0.0
    for cutoff in (1.0, 2.0, 4.0, 8.0):
        best = 0
        for seed in seeds:
            fitted = list(seed)
            for _ in range(4):
                if not fitted:
                    break
                rotation, translation, _ = kabsch(predicted[fitted], target[fitted])
                error = np.linalg.norm(predicted @ rotation.T + translation - target, axis=1)
                fitted = [i for i in range(length) if error[i] <= cutoff]
                best = max(best, len(fitted))
        score += best / length / 4.0
    return score


def central_differences(function, x, step=1e-5):
    """Return the gradient of a scalar function of a float64 array."""
    x = np.array(x, dtype=np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        shifted = x.copy()
        shifted[index] += step
        above = function(shifted)
        shifted[index] -= 2.0 * step
        gradient[index] = (above - function(shifted)) / (2.0 * step)
    return gradient


def random_rotation(rng):
    """Return a proper rotation, uniform over all of them."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer_norm(x):
    """LayerNorm of the last axis, without scale and shift."""
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def multiplication(z, weights, incoming):
    """Triangle multiplication: Jumper et al. 2021, suppl. algorithms 11 and 12."""
    n, width = len(z), z.shape[-1]
    c = weights["output"].shape[1]
    x = layer_norm(z) @ weights["project"].T
    sides, openings, gate = x[..., : 2 * c], x[..., 2 * c : 4 * c], x[..., 4 * c :]
    assert gate.shape[-1] == width
    sides = sigmoid(openings + weights["sides_gate"]) * sides
    a, b = sides[..., :c], sides[..., c:]
    product = np.zeros((n, n, c))
    for i in range(n):
        for j in range(n):
            for k in range(n):
                product[i, j] += a[k, i] * b[k, j] if incoming else a[i, k] * b[j, k]
    return sigmoid(gate + weights["gate"]) * (layer_norm(product) @ weights["output"].T)


def attention(z, weights, heads, form, ending):
    """Triangle attention: Jumper et al. 2021, suppl. algorithms 13 and 14; the linear forms as SeedFold has them."""
    n, width = len(z), z.shape[-1]
    c = width // heads
    x = layer_norm(z) @ weights["project"].T
    q, k, v, gate = (x[..., part * width : (part + 1) * width] for part in range(4))
    bias = x[..., 4 * width :]
    out = np.zeros((n, n, width))
    for h in range(heads):
        own = slice(h * c, (h + 1) * c)
        for i in range(n):
            for j in range(n):
                # Starting node: (i, j) listens to (i, m), biased by (j, m). Ending node: to (m, j), biased by (m, i).
                there = [(m, j) if ending else (i, m) for m in range(n)]
                third = [bias[m, i, h] if ending else bias[j, m, h] for m in range(n)]
                query, keys = q[i, j, own], [k[pair][own] for pair in there]
                values = [v[pair][own] for pair in there]
                if form == "softmax":
                    scores = [query @ key / math.sqrt(c) + b for key, b in zip(keys, third, strict=True)]
                    shares = np.exp(np.array(scores) - max(scores))
                    shares = shares / shares.sum()
                else:
                    fits = [np.maximum(query, 0) @ np.maximum(key, 0) for key in keys]
                    if form == "additive":
                        shares = [fit + max(b, 0) for fit, b in zip(fits, third, strict=True)]
                    else:
                        shares = [fit * sigmoid(b) for fit, b in zip(fits, third, strict=True)]
                out[i, j, own] = sum(share * value for share, value in zip(shares, values, strict=True))
    if form != "softmax":
        out = layer_norm(out)
    return (sigmoid(gate + weights["gate"]) * out) @ weights["output"].T


def transition(z, weights):
    """Two linear maps with a ReLU between them."""
    return np.maximum(layer_norm(z) @ weights["expand"].T, 0) @ weights["contract"].T
