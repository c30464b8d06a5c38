"""Queries, training and attacks of fingerprints: paired draws, hand-written training, nested attacks, guards, refusals."""

import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench import draws
from workbench.papers.robust_image_attribution import (
    comparator,
    comparison,
    contrastive,
    digits,
    evasion,
    images,
    pictures,
)
from workbench.papers.robust_image_attribution.contrastive import Arm
from workbench.papers.robust_image_attribution.evasion import Attack
from workbench.problems.embeddings import contrastive_loss

SMALL = digits.Setting(hidden=(32,), dimension=16, epochs=2, batch_size=50, queries=40, n_train=200)
SEEDS = range(3, 5)


def test_edits_and_changes_are_where_they_should_be():
    originals, donors = draws.uniform(0, (20, 1, 8, 8)), draws.uniform(1, (20, 1, 8, 8))
    pasted = pictures.edited(originals, donors, 2, 5, "edit")
    changed = (pasted != originals).flatten(1).sum(1)
    assert (changed == 4).all() and ((pasted == originals) | (pasted == donors)).all()
    still = pictures.Benign(0, 0, 0, 0, 0, 0, 0).apply(originals, 5, "change")
    assert torch.allclose(still, originals, atol=1e-6)
    moved = pictures.Benign().apply(originals, 5, "change")
    assert (
        moved.min() >= 0
        and moved.max() <= 1
        and not torch.equal(moved, pictures.Benign().apply(originals, 6, "change"))
    )
    training = pictures.training_queries(originals, pictures.Benign(0, 0, 0, 0, 0, 0, 0), 2, 5, 0)
    touched = ((training - originals).abs() > 1e-5).flatten(1).sum(1)
    assert (touched[:10] == 0).all() and (touched[10:] == 4).all()
    assert [pictures.edit_side(share, 8) for share in (0.125, 0.25, 0.3)] == [1, 2, 2]


def test_all_arms_of_a_seed_see_the_same_and_seeds_are_independent():
    trial = digits.trial(SEEDS, SMALL)
    assert trial.originals.shape == (2, 1797, 1, 8, 8) and trial.edited.shape == (2, 40, 1, 8, 8)
    alone = digits.trial(range(4, 5), SMALL)
    for name in ("originals", "edited", "benign", "elsewhere"):
        assert torch.equal(getattr(trial, name)[1], getattr(alone, name)[0])
    assert torch.equal(trial.chance("start", 2)[1], alone.chance("start", 2)[0])
    learnt, rest = digits.split(3, 200)
    assert sorted([*learnt.tolist(), *rest.tolist()]) == list(range(1797)) and len(learnt) == 200
    among, by_itself = (digits.fingerprints(Arm(0.1), seeds, SMALL) for seeds in (SEEDS, range(4, 5)))
    for name, value in by_itself.parameters.items():
        assert torch.allclose(value[0], among.parameters[name][1], atol=2e-4)


def test_a_robust_update_is_the_hand_written_one():
    network = SMALL.network
    ours, theirs = (network.initial([0], torch.float64) for _ in range(2))
    x = draws.uniform(0, (1, 30, 64))
    q, start = (x + 0.1 * draws.normal(1, x.shape)).clamp(0, 1), 2 * draws.uniform(2, x.shape) - 1

    def embed(parameters, inputs):
        return digits.embed(network, parameters, inputs)

    arm = Arm(0.1, 2, ramp_share=0.0)
    task = contrastive.contrast(embed, 0.1)
    contrastive.train(arm, task, ours, [(q, x, start)], 1, step_size=0.1, weight_decay=0.01)
    moved = (q + 0.1 * start).clamp(0, 1)
    keys = embed(theirs, x)
    for _ in range(2):
        point = moved.clone().requires_grad_()
        similarity = embed(theirs, point) @ keys.mT / 0.1
        labels = torch.arange(30)
        loss = torch.nn.functional.cross_entropy(similarity[0], labels) + torch.nn.functional.cross_entropy(
            similarity[0].T, labels
        )
        (slope,) = torch.autograd.grad(loss, point)
        moved = (q + (moved + 0.075 * slope.sign() - q).clamp(-0.1, 0.1)).clamp(0, 1)
    leaves = {name: value.requires_grad_() for name, value in theirs.items()}
    loss = contrastive_loss(embed(leaves, moved), embed(leaves, x), 0.1).mean()
    loss.backward()
    for name, value in theirs.items():
        assert torch.allclose(ours[name], (value - 0.1 * (value.grad + 0.01 * value)).detach(), atol=1e-12)


def test_perturbations_stay_inside_and_go_where_they_should():
    network, x = SMALL.network, draws.uniform(0, (1, 30, 64))
    parameters, start = network.initial([0], torch.float64), 2 * draws.uniform(2, (1, 30, 64)) - 1

    def values(queries):
        return contrastive_loss(digits.embed(network, parameters, queries), digits.embed(network, parameters, x), 0.1)

    losses = {}
    for arm in (Arm(0.1), Arm(0.1, direction="reversed"), Arm(0.1, direction="noise")):
        moved = contrastive.worst_queries(values, x, start, 0.1, arm)
        assert (moved - x).abs().max() <= 0.1 + 1e-12 and moved.min() >= 0 and moved.max() <= 1
        losses[arm.direction] = float(values(moved).mean())
    assert losses["reversed"] < losses["noise"] < losses["ascent"]
    assert [Arm(0.2).radius_at(step, 8) for step in (0, 1, 4, 7)] == pytest.approx([0, 0.05, 0.2, 0.2])
    assert Arm(0.2, ramp_share=0.0).radius_at(0, 8) == 0.2


def test_the_margin_is_the_lead_of_the_nearest_competitor():
    found, trial = digits.fingerprints(Arm(), SEEDS, SMALL), digits.trial(SEEDS, SMALL)
    database, own = found.embed(trial.originals[:, :60]), trial.own
    similarity = found.embed(trial.edited) @ database.mT
    mine = similarity[:, own, own].clone()
    similarity[:, own, own] = -2
    lead = similarity.amax(-1) - mine
    values = evasion.margin(found.embed, database[:, :40], database, own)(trial.edited)
    assert torch.allclose(values, lead, atol=1e-6)
    assert torch.allclose(evasion.away(found.embed, database[:, :40])(trial.edited), -mine, atol=1e-6)
    kept = evasion.survivors(found.embed, trial, database, Attack())
    clear = lead.abs() > 1e-5
    assert torch.equal(kept[clear], (lead < 0)[clear])


def test_recall_falls_with_radius_battery_and_database():
    found, trial = digits.fingerprints(Arm(), SEEDS, SMALL), digits.trial(SEEDS, SMALL)
    whole = found.embed(trial.originals)

    def recall(attack, size=300):
        return evasion.survivors(found.embed, trial, whole[:, :size], attack, whole[:, 300:400]).double().mean(-1)

    nothing = recall(Attack("margin", 0.0))
    assert torch.equal(nothing, recall(Attack())) and (nothing > 0.5).all()
    margin, battery = Attack("margin", 0.03, steps=8), Attack("battery", 0.03, steps=8, starts=2, targets=2)
    assert (recall(margin) <= nothing).all() and (recall(battery) <= recall(margin)).all()
    more = replace(battery, starts=3, targets=4)
    assert (recall(more) <= recall(battery)).all()
    assert (recall(Attack(), 1797) <= nothing).all()
    assert (recall(replace(margin, aim="elsewhere")) >= recall(battery)).all()
    zero, random = (Attack("margin", 0.03, steps=8, clip="inside", start=start) for start in ("zero", "random"))
    assert recall(random).mean() >= recall(zero).mean()


def test_the_battery_goes_on_only_with_those_that_are_left():
    found, trial = digits.fingerprints(Arm(), SEEDS, SMALL), digits.trial(SEEDS, SMALL)
    database, own = found.embed(trial.originals[:, :300]), trial.own
    battery = Attack("battery", 0.03, steps=5, starts=1, targets=2)
    kept = evasion.survivors(found.embed, trial, database, battery)
    keys = database[:, :40]
    similarity = found.embed(trial.edited) @ database.mT
    similarity[:, own, own] = -2
    rivals = similarity.topk(2, -1).indices
    alive = evasion.survivors(found.embed, trial, database, Attack("margin", 0.03, steps=5))
    for target in range(2):
        lead = evasion.rows(database, rivals[..., target]) - keys
        moved = evasion.attacks.pgd(
            lambda points, lead=lead: (found.embed(points) * lead).sum(-1), trial.edited, 0.03, "linf", steps=5
        ).inputs
        alive &= evasion.attributed(found.embed(moved), database, own)
    assert (kept != alive).sum() <= 1


def test_gradients_and_passes_are_counted():
    for K in (1, 2, 3):
        gradients, passes = digits.overhead(K)
        assert gradients == 1 + K and passes == pytest.approx(1 + (1 + 2 * K) / 6)


def _parameters(**changes):
    given = {
        "dataset": "digits", "seed0": 3, "seeds": 2, "train_radii": [0.0, 0.1, 0.2], "inner_steps": 1, "direction": "ascent",
        "ramp_share": 0.5, "n_train": 200, "dimension": 16, "temperature": 0.1, "epochs": 2, "batch_size": 50,
        "step_size": 0.1, "weight_decay": 1e-4, "queries": 40, "edit_share": 0.25, "rotation": 5.0, "scale": 0.03,
        "shift": 0.03, "photometric": {"noise": 0.05, "brightness": 0.1, "contrast": 0.3, "blur": 0.5}, "hidden": [32],
        "database_size": 300, "database_sizes": [300], "attack_radius": 0.05, "l2_radius": 0.4, "attack_steps": 5,
        "attack_starts": 2, "targets": 1,
    }  # fmt: skip
    return types.SimpleNamespace(**given | changes)


def test_comparisons_are_lazy_paired_and_guarded(monkeypatch):
    p = _parameters()
    arms, battles = comparison.Arms.of(p), comparison.Battles.of(p)
    assert (
        arms.robust == Arm(0.1, 1) and arms.large.radius == 0.2 and arms.noise.steps == 0 and arms.standard.radius == 0
    )
    assert battles.signs_twice.radius == 0.1 and battles.random_clipped_longer.steps == 25
    compared = comparison.compare(p)
    # Two epochs are too few: the guard says so, and nothing is judged.
    monkeypatch.setattr(comparison, "MOST_LOSS", 0.0)
    assert np.isnan(compared.recall(arms.standard, battles.unattacked)).all()
    monkeypatch.setattr(comparison, "MOST_LOSS", 1.0)
    monkeypatch.setattr(comparison, "LEAST_BENIGN", 0.0)
    monkeypatch.setattr(comparison, "MOST_CHANGE", 100.0)
    recall = compared.recall(arms.standard, battles.battery)
    assert recall.dims == ("seed",) and recall.seed.values.tolist() == [3, 4] and (recall < 90).all()
    trial, found = digits.trial(range(3, 5), comparison.setting_of(p)), compared.networks(arms.standard)
    embed = found.trials[0][0]
    kept = evasion.survivors(embed, trial, embed(trial.originals[:, :300]), battles.battery)
    assert recall.values.tolist() == pytest.approx((100 * kept.double().mean(-1)).tolist())
    gain = compared.gain(arms.robust, arms.standard, battles.margin)
    assert (gain == compared.recall(arms.robust, battles.margin) - compared.recall(arms.standard, battles.margin)).all()
    monkeypatch.setattr(comparison, "MOST_CHANGE", 0.0)
    assert np.isnan(compared.recall(arms.standard, battles.margin)).all()
    assert (
        "battery 0.05, edited" in compared.dataset().measurement.values[-1] or len(compared.dataset().measurement) > 3
    )
    table = compared.table({"standard": arms.standard}, {"battery": battles.battery, "l2": battles.unseen})
    assert "±" in table.loc["battery", "standard"] and table.loc["l2", "standard"] == ""


def test_convolutional_fingerprints_learn_and_are_attacked(monkeypatch):
    made = draws.uniform(0, (80, 1, 28, 28)).float()
    data = types.SimpleNamespace(train_inputs=made[:60], test_inputs=made[60:])
    monkeypatch.setattr(images, "load", lambda *_, **options: data)
    images.held.cache_clear()
    setting = images.Setting(
        "mnist",
        n_train=40,
        channels=(8, 8),
        dimension=8,
        epochs=2,
        batch_size=20,
        queries=5,
        database=20,
        largest_database=30,
    )
    held = images.held(0, setting)
    assert (
        held.images.shape[0] == 40 and held.trial.originals.shape[0] == 40 and held.trial.edited.shape == (5, 1, 28, 28)
    )
    net, loss = images.fingerprints(Arm(0.05, 1), 0, setting)
    embed = images.embedder(net)
    assert not net.training and np.isfinite(loss)
    assert torch.allclose(embed(held.trial.edited).norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.allclose(embed(held.trial.originals)[:3], embed(held.trial.originals[:3]), atol=1e-5)
    database = embed(held.trial.originals[:20])
    clean, battery = (
        evasion.survivors(embed, held.trial, database, attack)
        for attack in (Attack(), Attack("battery", 0.05, steps=3, starts=2, targets=2))
    )
    assert battery.shape == (5,) and not (battery & ~clean).any()
    images.held.cache_clear()


def test_comparators_learn_what_was_edited_and_are_attacked():
    setting = comparator.Setting(epochs=6, n_train=600, batch_size=50)
    found = comparator.accuracies(Arm(), [0], [0.0, 0.06], steps=4, setting=setting)
    assert found.attacked[0, 0] > 75 and found.attacked[0, 1] < found.signs[0, 1] <= 100
    assert found.attacked[0, 0] == found.signs[0, 0] and found.probability[0, 1] < found.probability[0, 0]
    made = comparator.pairs(digits.digits()[:10], pictures.Benign(0, 0, 0, 0, 0, 0, 0), 0, "test")
    same = (made.queries - made.originals).abs().flatten(1).amax(1) < 1e-5
    assert same[::2].all() and made.edited.tolist() == [0, 1] * 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Arm(-0.1), "radius"),
        (lambda: Arm(1.5), "at most 1"),
        (lambda: Arm(0.1, 0), "inner_steps"),
        (lambda: Arm(0.1, direction="up"), "direction must be one of"),
        (lambda: Arm(0.1, ramp_share=2.0), "ramp_share"),
        (lambda: Attack("fgsm"), "kind must be one of"),
        (lambda: Attack("margin", -1.0), "radius"),
        (lambda: Attack("margin", 0.1, "l2", clip="inside"), "sign steps"),
        (lambda: digits.Setting(queries=800), "queries"),
        (lambda: digits.Setting(batch_size=1), "batch_size"),
        (lambda: digits.Setting(edit_share=0.05), "less than one pixel"),
        (lambda: images.Setting("svhn"), "dataset"),
        (lambda: comparator.Setting(batch_size=1), "batch_size"),
        (lambda: pictures.edit_side(1.0, 8), "edit_share"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
