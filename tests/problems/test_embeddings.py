"""Embeddings: nearest, recall and prototypes against loops, chunks that change nothing, the contrastive loss, refusals."""

import math

import numpy as np
import pytest
import torch

from workbench import draws, memory
from workbench.problems import embeddings


def _vectors(seed, *shape):
    return draws.normal(seed, shape)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_nearest_is_the_loop_over_pairs(metric):
    queries, database = _vectors(0, 2, 7, 5), 3 * _vectors(1, 2, 40, 5)
    found = embeddings.nearest(queries, database, 4, metric=metric)
    assert found.rows.shape == found.scores.shape == (2, 7, 4)
    for net in range(2):
        for row in range(7):
            q, z = queries[net, row], database[net]
            score = (z @ q) / (z.norm(dim=1) * q.norm()) if metric == "cosine" else -(z - q).square().sum(1)
            order = score.argsort(descending=True)[:4]
            assert found.rows[net, row].tolist() == order.tolist()
            assert torch.allclose(found.scores[net, row], score[order], atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 3])
def test_recall_is_the_loop_and_does_not_depend_on_chunks(metric, k, monkeypatch):
    database = _vectors(2, 60, 6)
    own = draws.integers(3, 60, (33,))
    queries = database[own] + 0.8 * _vectors(4, 33, 6)
    found = embeddings.attributed(queries, database, own, k, metric=metric)
    rows = embeddings.nearest(queries, database, k, metric=metric).rows
    assert found.tolist() == [bool((rows[i] == own[i]).any()) for i in range(33)]
    assert 0 < found.double().mean() < 1 and embeddings.recall(queries, database, own, k, metric=metric) == (
        found.double().mean()
    )
    monkeypatch.setattr(embeddings, "BLOCK_BYTES", 33 * 8 * 7)
    assert torch.equal(embeddings.attributed(queries, database, own, k, metric=metric), found)
    assert torch.equal(embeddings.nearest(queries, database, k, metric=metric).rows, rows)


def test_many_networks_at_once_are_those_alone():
    queries, database = _vectors(0, 3, 11, 4).float(), _vectors(1, 3, 25, 4).float()
    own = torch.arange(11)
    together = embeddings.recall(queries, database, own, 5)
    alone = [float(embeddings.recall(queries[n], database[n], own, 5)) for n in range(3)]
    assert together.tolist() == alone
    shared = embeddings.nearest(queries[0], database, 2).rows
    assert torch.equal(shared[2], embeddings.nearest(queries[0], database[2], 2).rows)


def test_ties_count_against_the_own_entry():
    database = _vectors(0, 50, 64).float()
    database[49] = database[3]
    database[48] = 2 * database[5]
    own = torch.tensor([3, 5, 7])
    queries = database[own]
    assert embeddings.attributed(queries, database, own).tolist() == [False, False, True]
    assert embeddings.attributed(queries, database, own, 2).all()
    assert embeddings.attributed(queries, database, own, metric="euclidean").tolist() == [False, True, True]
    assert embeddings.nearest(queries, database).rows[0, 0] == 3


def test_recall_falls_with_nested_databases_and_grows_with_k():
    database = _vectors(0, 300, 8)
    own = torch.arange(40)
    queries = database[:40] + _vectors(1, 40, 8)
    sizes = [float(embeddings.recall(queries, database[:n], own)) for n in (40, 100, 300)]
    ranks = [float(embeddings.recall(queries, database, own, k)) for k in (1, 10, 300)]
    assert sizes == sorted(sizes, reverse=True) and ranks == sorted(ranks) and ranks[-1] == 1


def test_little_memory_gives_the_same(monkeypatch):
    monkeypatch.setenv("WORKBENCH_MEMORY", "0.00001")
    database, own = _vectors(0, 500, 16), torch.arange(20)
    queries = database[:20] + 0.9 * _vectors(1, 20, 16)
    assert memory.budget() < 20_000
    rows = embeddings.nearest(queries, database, metric="euclidean").rows[:, 0]
    assert torch.equal(rows, torch.cdist(queries, database).argmin(1))
    assert torch.equal(embeddings.attributed(queries, database, own, metric="euclidean"), rows == own)


def test_prototypes_are_means_and_classify():
    points, labels = _vectors(0, 2, 30, 3), torch.arange(30) % 4
    means = embeddings.class_prototypes(points, labels, 4)
    for c in range(4):
        assert torch.allclose(means[:, c], points[:, labels == c].mean(1), atol=1e-14)
    guess = embeddings.nearest_prototype(points, means)
    assert torch.equal(guess, torch.cdist(points, means).argmin(-1))
    cosine = embeddings.nearest_prototype(points, means, metric="cosine")
    assert torch.equal(cosine, torch.cdist(points, embeddings.normalised(means)).argmin(-1))
    own_labels = torch.stack([labels, labels.flip(0)])
    flipped = torch.stack([points[1, labels.flip(0) == c].mean(0) for c in range(4)])
    assert torch.allclose(embeddings.class_prototypes(points, own_labels, 4)[1], flipped)
    leaf = points.clone().requires_grad_()
    (slope,) = torch.autograd.grad(embeddings.class_prototypes(leaf, labels, 4)[0, 1].sum(), leaf)
    assert torch.allclose(slope[0, labels == 1], torch.tensor(1 / 8, dtype=points.dtype)) and not slope[1].any()


def test_normalised_vectors_have_length_one_and_zero_stays():
    vectors = _vectors(0, 9, 5)
    vectors[4] = 0
    unit = embeddings.normalised(vectors)
    assert torch.allclose(unit.norm(dim=1), torch.ones(9, dtype=unit.dtype) - torch.eye(9, dtype=unit.dtype)[4])
    assert torch.equal(embeddings.normalised(torch.full((2,), 1e-15)), torch.full((2,), 1e-15) / 1e-12)


def test_the_contrastive_loss_is_two_cross_entropies():
    q, x = embeddings.normalised(_vectors(0, 3, 6, 5)), embeddings.normalised(_vectors(1, 3, 6, 5))
    logits, own = q @ x.mT / 0.3, torch.arange(6)
    cross_entropy = torch.nn.functional.cross_entropy
    one = torch.stack([cross_entropy(row, own, reduction="none") for row in logits])
    other = torch.stack([cross_entropy(row.T, own, reduction="none") for row in logits])
    assert torch.allclose(embeddings.contrastive_loss(q, x, 0.3, symmetric=False), one)
    both = embeddings.contrastive_loss(q, x, 0.3)
    assert torch.allclose(both, (one + other) / 2)
    assert torch.allclose(both, embeddings.contrastive_loss(x, q, 0.3))
    same = torch.ones(1, 4, 2)
    assert torch.allclose(embeddings.contrastive_loss(same, same, 0.1), torch.tensor(math.log(4)))
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    assert torch.allclose(embeddings.contrastive_loss(q[:, order], x[:, order], 0.3), both[:, order])


def test_embeddings_are_stored_in_chunks(tmp_path):
    inputs, weights = _vectors(0, 23, 4).float(), _vectors(1, 4, 3).float()
    sizes = []

    def network(part):
        sizes.append(len(part))
        return part @ weights

    kept = embeddings.embed(network, inputs, rows=10)
    assert torch.allclose(kept, inputs @ weights) and sizes == [10, 10, 3]
    embeddings.embed(network, inputs, rows=10, path=tmp_path / "database.npy")
    database = torch.from_numpy(np.load(tmp_path / "database.npy", mmap_mode="c"))
    assert torch.equal(database, kept)
    assert embeddings.recall(kept, database, torch.arange(23)) == 1


Q = torch.ones(3, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: embeddings.normalised(Q, floor=0.0), "floor must be a finite number > 0"),
        (lambda: embeddings.normalised(Q.long()), "floating-point"),
        (lambda: embeddings.class_prototypes(Q, torch.tensor([0, 1, 1]), 3), r"classes \[2\] have no sample"),
        (lambda: embeddings.class_prototypes(Q, torch.tensor([0, 1, 3]), 3), "0..2"),
        (lambda: embeddings.class_prototypes(Q, torch.tensor([0, 1]), 2), "one per sample"),
        (lambda: embeddings.nearest(Q, torch.ones(5, 3)), "equal features"),
        (lambda: embeddings.nearest(Q, torch.ones(5, 4), 6), "k must be an int in 1..5"),
        (lambda: embeddings.nearest(Q, torch.ones(5, 4), metric="l1"), "metric must be one of"),
        (lambda: embeddings.nearest(Q, torch.ones(5, 4).double()), "one dtype"),
        (lambda: embeddings.nearest(Q[:0], Q), "at least one row"),
        (lambda: embeddings.recall(Q, Q, torch.tensor([0, 1, 3])), "0..2"),
        (lambda: embeddings.recall(Q, Q, torch.tensor([0, 1])), "one row per query"),
        (lambda: embeddings.contrastive_loss(Q, Q, 0.0), "temperature"),
        (lambda: embeddings.contrastive_loss(Q[:1], Q[:1], 0.1), "at least two pairs"),
        (lambda: embeddings.contrastive_loss(Q, Q[:2], 0.1), "one shape"),
        (lambda: embeddings.embed(lambda x: x, Q, rows=0), "rows"),
        (lambda: embeddings.embed(lambda x: x, Q[:0]), "empty"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
