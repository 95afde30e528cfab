"""Templates in a fold: blended distances, and peptides threaded through known backbones."""

import dataclasses

import mlx.core as mx
import numpy as np
import oracles
import pytest
from synthetic import HELIX, STRAND, toy_model
from template_helpers import library_of

from betafold_mlx.fold.ensemble import NETWORK, NOTHING, TRACE, refine
from betafold_mlx.fold.fitting import fit_together
from betafold_mlx.fold.restraints import restraints_from
from betafold_mlx.fold.threads import MIN_TRUST, THREADS, blend, template_distances, thread
from betafold_mlx.model.functions import softmax
from betafold_mlx.model.heads import BINS, CENTRES, EDGES
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.templates.search import search

HAIRPIN = "KVTYEVNGKTYVFEKD"
HELICAL = "AEKLAQMERALKEAAKRL"
BUNDLE = "ECLKAMAELGNPRKTTYCVW"


def bent(length, seed):
    """Torsions of a helix, a turn and a strand, not quite ideal."""
    rng = np.random.default_rng(seed)
    half = length // 2
    angles = np.concatenate([np.tile(HELIX, (half, 1)), np.tile(STRAND, (length - half, 1))])
    angles[half] = np.radians([60.0, 30.0, 180.0])
    return angles + np.radians(6.0) * rng.normal(size=angles.shape) * [1, 1, 0.3]


LIBRARY = library_of(
    [(sequence, (), False, bent(len(sequence), seed)) for seed, sequence in enumerate((HAIRPIN, HELICAL))]
    + [(BUNDLE, ((2, 18),), False, bent(len(BUNDLE), 7))]
)


def folded(peptides, length=32):
    """A network's answer that knows nothing but that bonds are trans."""
    mx.random.seed(0)
    inputs = collate(peptides, length)
    answer = toy_model()(inputs)
    trans = mx.full(answer.torsions.shape[:2], np.pi)
    return answer._replace(
        torsions=mx.concatenate([answer.torsions[..., :2], trans[..., None]], axis=-1)
    ), inputs


def hits_of(*peptides, trust=None):
    found = [search(peptide, LIBRARY, 1) for peptide in peptides]
    if trust is not None:
        found = [[dataclasses.replace(hit, trust=trust) for hit in hits] for hits in found]
    return found


def off(torsions, peptide, entry):
    """C-alpha RMSD of a chain to an entry of the same length."""
    ca = oracles.build_backbone(np.array(torsions, dtype=float)[: len(peptide)], peptide.sequence)[:, 1]
    return oracles.kabsch(ca, LIBRARY.ca[LIBRARY.rows(entry)])[2]


def test_a_peptide_threaded_through_its_own_structure_comes_back():
    peptides = [Peptide.of(HAIRPIN), Peptide.of("GKWTEYNPATGK"), Peptide.of(HELICAL)]
    answer, inputs = folded(peptides)
    templates = hits_of(*peptides)
    templates[1].clear()
    threads = thread(templates, restraints_from(answer, inputs), 0)
    assert threads.rows.tolist() == [0, 0, 2, 2] and threads.hits.tolist() == [0] * 4
    (laid,) = fit_together([threads.fit])
    for candidate, row in enumerate(threads.rows.tolist()):
        entry = templates[row][0].entry
        assert off(laid[candidate], peptides[row], entry) < 0.3
        # Its restraints are the distances of the template; where nothing is restrained nothing is now.
        n = len(peptides[row])
        distances = template_distances(templates[row][0], inputs.mask.shape[1])
        np.testing.assert_allclose(
            threads.restraints.distance[candidate, :n, :n], distances[:n, :n], rtol=1e-5
        )
    before, after = (
        np.array(restraints_from(answer, inputs).tightness),
        np.array(threads.restraints.tightness),
    )
    np.testing.assert_array_equal(after > 0, before[threads.rows] > 0)

    # And through the whole of the fold, as its last candidates.
    made = refine(answer, inputs, 0, range(3), templates=templates, traced=True)
    assert made.source.tolist() == [
        [NETWORK] * 3 + [TRACE] + [0] * 2,
        [NETWORK] * 3 + [TRACE] + [NOTHING] * 2,
        [NETWORK] * 3 + [TRACE] + [0] * 2,
    ]
    for row in (0, 2):
        best = [off(made.torsions[row, k], peptides[row], templates[row][0].entry) for k in (4, 5)]
        assert max(best) < 0.6
    assert np.isfinite(np.array(made.coordinates)).all() and np.isfinite(np.array(made.probability)).all()


def test_a_cis_bond_of_a_template_stays():
    """The network says trans, as nearly always; the template knows better."""
    sequence = "KVTYEANPGKTYVFEKD"
    angles = bent(len(sequence), 3)
    angles[6, 2] = np.radians(9.0)
    library = library_of([(sequence, (), False, angles)])
    peptide = Peptide.of(sequence)
    answer, inputs = folded([peptide])
    made = refine(answer, inputs, 0, [0], templates=[search(peptide, library, 1)])
    omega = np.abs(np.angle(np.exp(1j * np.array(made.torsions)[0, made.source[0] >= 0, :16, 2])))
    assert (omega[:, 6] < np.radians(30)).all() and (np.delete(omega, 6, axis=1) > np.radians(150)).all()


def test_a_bonded_peptide_keeps_its_disulfide_on_a_template():
    peptide = Peptide.of(BUNDLE, disulfides=((2, 18),))
    answer, inputs = folded([peptide])
    templates = hits_of(peptide)
    assert templates[0][0].matched == 1
    made = refine(answer, inputs, 0, [0], templates=templates)
    threaded = np.array(made.coordinates)[0, made.source[0] >= 0]
    assert len(threaded) == 2
    apart = np.linalg.norm(threaded[:, 1, 4] - threaded[:, 17, 4], axis=-1)
    assert (apart > 3.4).all() and (apart < 4.5).all()


def test_where_a_template_is_silent_candidates_differ():
    """Ends that are not aligned are drawn; what lies between is the same in both candidates."""
    peptide = Peptide.of("GSDPN" + HELICAL + "GTWQH")
    answer, inputs = folded([peptide])
    templates = hits_of(peptide)
    (hit,) = templates[0]
    assert hit.query.min() in (4, 5) and hit.query.max() in (22, 23)
    threads = thread(templates, restraints_from(answer, inputs), 0)
    first, second = fit_together([threads.fit])[0]
    apart = np.abs(np.angle(np.exp(1j * (first - second))))
    assert apart[6:22].max() < 0.3 and apart[:4, :2].max() > 0.5 and apart[24:28, :2].max() > 0.5
    ca = LIBRARY.ca[LIBRARY.rows(hit.entry)][hit.template]
    for torsions in (first, second):
        built = oracles.build_backbone(torsions[:28], peptide.sequence)[hit.query, 1]
        assert oracles.kabsch(built, ca)[2] < 0.3
    assert thread([[]], restraints_from(answer, inputs), 0) is None


def probabilities(rows, length, seed=0):
    logits = mx.random.normal((rows, length, length, BINS), key=mx.random.key(seed)) * 2
    return softmax(logits)


@pytest.mark.parametrize("trust", [0.0, 0.7, 1.0])
def test_blended_probabilities(trust):
    peptides = [Peptide.of("GGWGG" + HAIRPIN), Peptide.of("GKWTEYNPATGK")]
    templates = hits_of(*peptides, trust=trust)
    templates[1].clear()
    (hit,) = templates[0]
    network = np.array(probabilities(2, 32))
    got, share_of_templates = map(np.array, blend(mx.array(network), templates))
    in_template = np.isin(np.arange(32), hit.query)
    np.testing.assert_allclose(
        share_of_templates, [np.where(in_template, trust, 0.0), np.zeros(32)], atol=1e-6
    )
    assert got.shape == network.shape and np.isfinite(got).all() and (got >= 0).all()
    np.testing.assert_allclose(got.sum(axis=-1), 1, atol=1e-5)
    aligned = np.zeros((2, 32, 32), dtype=bool)
    aligned[0][np.ix_(hit.query, hit.query)] = True
    np.testing.assert_array_equal(got[~aligned], network[~aligned])
    assert aligned.sum() == len(hit.query) ** 2 and hit.query.min() == 5
    if trust == 0:
        np.testing.assert_array_equal(got, network)
    ca = LIBRARY.ca[LIBRARY.rows(hit.entry)][hit.template].astype(float)
    for a, i in enumerate(hit.query):
        for b, j in enumerate(hit.query):
            share = got[0, i, j] - (1 - trust) * network[0, i, j]
            distance = np.linalg.norm(ca[a] - ca[b])
            assert share.sum() == pytest.approx(trust, abs=1e-5)
            if trust == 1 and i != j:
                edges = np.concatenate([[-np.inf], EDGES, [np.inf]])
                bin_ = np.searchsorted(EDGES, distance)
                around = share[(edges[1:] > distance - 2) & (edges[:-1] < distance + 2)].sum()
                assert abs(int(share.argmax()) - bin_) <= 1 and around > 0.9
                if CENTRES[0] + 2 < distance < CENTRES[-1] - 2:
                    assert share @ CENTRES == pytest.approx(distance, abs=0.3)


def test_the_first_template_is_believed_before_the_second():
    """Two templates on one another: of what the first leaves, the second takes its part, the network the rest."""
    peptide = Peptide.of(HELICAL)
    (hit,) = search(peptide, LIBRARY, 1)
    first, second = (dataclasses.replace(hit, trust=trust) for trust in (0.7, 0.65))
    other = dataclasses.replace(second, ca=hit.ca[::-1].copy())  # backwards: other distances
    network = probabilities(1, 24)

    def blended(*hits):
        return np.array(blend(network, [list(hits)])[0]).astype(float)

    alone = [blended(dataclasses.replace(each, trust=1.0)) for each in (first, other)]
    want = 0.7 * alone[0] + 0.3 * (0.65 * alone[1] + 0.35 * np.array(network))
    got = blended(first, other)
    n = len(peptide)
    np.testing.assert_allclose(got[0, :n, :n], want[0, :n, :n], atol=1e-5)
    untouched, share = blend(network, [[]])
    assert mx.array_equal(untouched, network).item() and not share.any().item()


def test_a_template_of_little_trust_is_tried_once_and_does_not_count_in_the_distogram():
    peptides = [Peptide.of(HAIRPIN)]
    answer, inputs = folded(peptides)
    network = probabilities(1, 24)
    for trust, candidates in ((MIN_TRUST - 0.01, 1), (MIN_TRUST + 0.01, THREADS)):
        templates = hits_of(*peptides, trust=trust)
        threads = thread(templates, restraints_from(answer, inputs), 0)
        assert threads.hits.tolist() == [0] * candidates
        blended, share = blend(network, templates)
        assert mx.array_equal(blended, network).item() == (trust < MIN_TRUST) == (not share.any().item())
