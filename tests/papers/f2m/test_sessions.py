"""Sessions against loops written anew; what stays, what the clamp holds, how samples are dealt."""

import numpy as np
import pytest
import torch
from PIL import Image

from workbench import data
from workbench.papers.f2m.base import train_bases
from workbench.papers.f2m.embeddings import Dense
from workbench.papers.f2m.episodes import deal, images
from workbench.papers.f2m.noise import clamp_to_box
from workbench.papers.f2m.prototypes import cosines, ncm_predict, prototypes
from workbench.papers.f2m.sessions import fine_tune, incremental_sessions, session_loss, stages
from workbench.papers.f2m.settings import FROZEN, BaseTraining, Protocol, Session
from workbench.problems.embeddings import class_prototypes

NETWORK = Dense((64, 16, 8))


@pytest.fixture(scope="module")
def episodes():
    return deal(images("digits"), [5, 6], Protocol(shot_draws=2))


@pytest.fixture(scope="module")
def bases(episodes):
    return train_bases(NETWORK, BaseTraining(0.0, base_steps=60), episodes)


def test_the_session_loss_is_that_of_a_loop(bases, episodes):
    shots = episodes.images[episodes.shots[:, 0]]
    parameters = {name: value.double() for name, value in bases.parameters.items()}
    stored = bases.prototypes.double()
    found = session_loss(NETWORK, parameters, shots.double(), stored, 10.0)
    for seed in range(2):
        own = {name: value[seed : seed + 1] for name, value in parameters.items()}
        embedded = [NETWORK.embed(own, rows[None].double())[0] for rows in shots[seed]]
        centres = [*stored[seed], *(rows.mean(0) for rows in embedded)]
        losses = []
        for label, rows in enumerate(embedded, start=6):
            for z in rows:
                scores = torch.stack([10 * (z @ p) / (z.norm() * p.norm()) for p in centres])
                losses.append(-torch.log_softmax(scores, 0)[label])
        assert float(found[seed]) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-9)


@pytest.mark.parametrize("session", [Session(0.01, 5), Session(None, 5), Session(None, 5, pull=0.01)])
def test_fine_tuning_is_clipped_sgd_written_anew(bases, episodes, session):
    shots = episodes.images[episodes.shots[:, 0]]
    tuned, farthest = fine_tune(NETWORK, bases.parameters, bases.parameters, shots, bases.prototypes, session)
    weights = {name: bases.parameters[name].clone().requires_grad_() for name in NETWORK.noisy}
    optimizer = torch.optim.SGD(weights.values(), session.ft_lr, 0.9)
    for _ in range(5):
        optimizer.zero_grad()
        loss = session_loss(NETWORK, bases.parameters | weights, shots, bases.prototypes, 10.0).sum()
        loss = loss + session.pull * sum((weights[n] - bases.parameters[n]).abs().sum() for n in weights)
        loss.backward()
        optimizer.step()
        if session.clamp is not None:
            for name, value in weights.items():
                low, high = bases.parameters[name] - session.clamp, bases.parameters[name] + session.clamp
                value.data = torch.minimum(torch.maximum(value.data, low), high)
    for name, value in weights.items():
        torch.testing.assert_close(tuned[name], value.detach(), rtol=1e-5, atol=1e-6)
    largest = max(float((tuned[name] - bases.parameters[name]).abs().max()) for name in weights)
    assert float(farthest.max()) >= largest
    assert torch.equal(tuned["0.bias"], bases.parameters["0.bias"])
    if session.clamp is not None:
        largest_weight = max(float(bases.parameters[name].abs().max()) for name in weights)
        assert float(farthest.max()) - session.clamp <= 2.0**-23 * largest_weight


def test_base_prototypes_never_change_and_new_ones_are_those_of_the_present_weights(bases, episodes):
    before = bases.prototypes.clone()
    seen = list(stages(bases, episodes, Session(0.05, 3)))
    assert [stage.prototypes.shape[1] for stage in seen] == [6, 8, 10]
    assert all(torch.equal(stage.prototypes[:, :6], before.repeat_interleave(2, 0)) for stage in seen)
    last, shots = seen[-1], episodes.images[episodes.shots[1, 1]]
    own = {name: value[3:] for name, value in last.parameters.items()}
    torch.testing.assert_close(
        last.prototypes[3, 6:], torch.stack([NETWORK.embed(own, x[None])[0].mean(0) for x in shots])
    )


def test_no_steps_are_the_frozen_base_and_a_wide_box_is_none(bases, episodes):
    frozen = incremental_sessions(bases, episodes, FROZEN)
    still = incremental_sessions(bases, episodes, Session(0.02, ft_steps=0))
    free, wide = (incremental_sessions(bases, episodes, Session(width)) for width in (None, 10.0))
    assert frozen.accuracy.equals(still.accuracy) and free.accuracy.equals(wide.accuracy)
    assert not frozen.accuracy.equals(free.accuracy) and float(frozen.farthest.max()) == 0
    last = free.accuracy.isel(session=-1)
    mixed = 0.6 * last.sel(group="base") + 0.4 * last.sel(group="new")
    np.testing.assert_allclose(last.sel(group="all"), mixed, rtol=1e-12)
    assert np.isnan(free.accuracy.sel(session=0, group="new")).all()
    np.testing.assert_allclose(frozen.accuracy.sel(session=0, group="all", rule="normalised"), bases.accuracy)


def test_a_seeds_accuracy_is_the_mean_over_its_draws(bases, episodes):
    both = incremental_sessions(bases, episodes, Session(0.02)).accuracy
    first = incremental_sessions(bases, episodes.with_draws(1), Session(0.02)).accuracy
    swapped = episodes.of(0, 2)
    swapped = type(swapped)(
        swapped.seeds, swapped.images, swapped.train, swapped.shots[:, 1:], swapped.test, swapped.way
    )
    second = incremental_sessions(bases, swapped, Session(0.02)).accuracy
    np.testing.assert_allclose(both, (first + second) / 2, atol=0.11)  # a prediction in 500 may turn by rounding


def test_the_clamp_is_the_nearest_point_of_the_box():
    center = torch.tensor([0.5, -1.0, 0.0])
    weights = torch.tensor([0.9, -1.05, -0.3])
    assert clamp_to_box(weights, center, 0.1).tolist() == pytest.approx([0.6, -1.05, -0.1])


def test_the_nearest_normalised_prototype_has_the_largest_cosine():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 200, 12, dtype=torch.float64, generator=generator).relu()
    centres = torch.rand(3, 7, 12, dtype=torch.float64, generator=generator) * torch.arange(1, 8)[:, None]
    by_distance = torch.cdist(z, centres / centres.norm(dim=-1, keepdim=True)).argmin(-1)
    assert torch.equal(ncm_predict(z, centres), by_distance)
    assert torch.equal(by_distance, cosines(z, centres).argmax(-1))
    assert torch.equal(ncm_predict(z, centres, normalise=False), torch.cdist(z, centres).argmin(-1))
    assert not torch.equal(by_distance, ncm_predict(z, centres, normalise=False))


def test_prototypes_are_class_means():
    embedded = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(prototypes(embedded), embedded.mean(-2))
    labels = torch.tensor([0] * 4 + [1] * 4 + [2] * 4)
    torch.testing.assert_close(prototypes(embedded), class_prototypes(embedded.flatten(1, 2), labels, 3))


def test_shots_are_disjoint_from_each_other_and_from_the_test_images(episodes):
    targets = images("digits").targets
    for k, seed in enumerate(episodes.seeds):
        order = np.random.default_rng(seed).permutation(10)
        assert targets[episodes.test[k]].unique(dim=1).flatten().tolist() == order.tolist()
        used = torch.cat([episodes.train[k].flatten(), episodes.shots[k].flatten(), episodes.test[k].flatten()])
        assert len(used.unique()) == len(used) == 6 * 120 + 2 * 4 * 5 + 10 * 50
        assert (targets[episodes.shots[k]] == torch.tensor(order[6:])[None, :, None]).all()


def test_folders_give_their_own_test_images(tmp_path):
    noise = np.random.default_rng(0).integers(0, 60, (2, 4, 6, 10, 8, 3), np.uint8)
    shades = noise + np.arange(0, 200, 50, np.uint8)[:, None, None, None, None]
    for part, of_part in zip(("train", "test"), shades, strict=True):
        for label, of_class in enumerate(of_part):
            folder = tmp_path / part / f"class{label}"
            folder.mkdir(parents=True)
            for number, pixels in enumerate(of_class):
                Image.fromarray(pixels).save(folder / f"{number}.png")
    everything = data.load("image-folder", root=tmp_path, size=8)
    dealt = deal(everything, [0, 1], Protocol(n_base=2, way=1, shot=2, shot_draws=2, train=6, test=3))
    assert dealt.train.shape == (2, 2, 5) and dealt.shots.shape == (2, 2, 2, 2) and dealt.test.shape == (2, 4, 3)
    assert int(dealt.train.max()) < 24 <= int(dealt.test.min()) and int(dealt.shots.max()) < 24
    assert (everything.targets[dealt.test] == everything.targets[dealt.test][..., :1]).all()
    trained = train_bases(Dense((192, 12, 6)), BaseTraining(0.0, base_steps=100), dealt)
    assert incremental_sessions(trained, dealt, Session(0.02, 2)).accuracy.shape == (2, 3, 3, 2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"clamp": 0.0}, "clamp must be a finite number > 0"),
        ({"ft_steps": -1}, "ft_steps must be an int >= 0"),
        ({"ft_lr": 0.0}, "ft_lr must be a finite number > 0"),
        ({"scale": float("inf")}, "scale must be a finite number > 0"),
        ({"pull": -1.0}, "pull must be a finite number >= 0"),
    ],
)
def test_bad_sessions_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Session(**wrong)
