"""Rules of the SAM atlas in somebody's own training loop: the same numbers as in a run, or a refusal in words."""

from dataclasses import dataclass

import pytest
import torch

import workbench as wb
from workbench import optimizers as o
from workbench.problems.base import Problem

D = torch.float64
INPUTS = torch.arange(12, dtype=D).reshape(6, 2).sin()
TARGETS = torch.linspace(-1, 1, 6, dtype=D)[:, None]


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).to(
        D
    )


@dataclass(frozen=True, eq=False)
class Fit(Problem):
    """Least squares with the same network."""

    module: torch.nn.Module

    @property
    def data(self):
        return INPUTS, TARGETS

    def initial(self, seed):
        return {name: value.detach().clone() for name, value in self.module.named_parameters()}

    def batch_outputs(self, parameters, batch):
        return torch.func.functional_call(self.module, parameters, (batch[0],))

    def output_loss(self, outputs, batch):
        return torch.nn.functional.mse_loss(outputs, batch[1])

    def batch_loss(self, parameters, batch):
        return self.output_loss(self.batch_outputs(parameters, batch), batch)

    def sample_loss(self, parameters, *sample):
        return self.batch_loss(parameters, (sample[0][None], sample[1][None]))


def is_norm(name):
    return name.startswith("1.")


RULES = {
    "asam": o.asam(0.1, 0.2),
    "gsam": o.gsam(0.1, 0.2, beta=0.9),
    "xsam": o.xsam(0.1, 0.2),
    "gam": o.gam(0.05, 0.1),
    "functional_sam": o.functional_sam(0.1, 0.2),
    "zsharp": o.zsharp(0.1, 0.2, 0.5),
    "sam_on": o.sam_on(0.1, 0.2, is_norm),
    "k_sam": o.k_sam(0.1, 0.2, 3),
    "esam": o.esam(0.1, 0.2),
    "rsam": o.rsam(0.1, 0.2),
    "look_sam": o.look_sam(0.1, 0.2),
    "vasso": o.vasso(0.1, 0.2, beta=0.5),
    "f_sam": o.f_sam(0.1, 0.2),
    "momentum_sam": o.momentum_sam(0.1, 0.2),
    "bsam": o.bsam(0.1, 0.1),
    "lookbehind_sam": o.lookbehind_sam(0.1, 0.2),
    "ae_sam": o.ae_sam(0.1, 0.2, 4),
    "sam+muon": o.muon(0.1, 0.9, gradient=o.UnifiedSAM(0.2)),
}


@pytest.mark.parametrize("name", RULES)
def test_steps_in_a_loop_are_those_of_a_run(name):
    expected = wb.run(Fit(network()), RULES[name], steps=3, seed=4, compile=False, progress=False).parameters
    module = network()
    optimizer = o.as_torch(RULES[name], module, loss=torch.nn.functional.mse_loss, seed=4)
    for _ in range(3):
        optimizer.step(INPUTS, TARGETS)
    for key, value in module.named_parameters():
        torch.testing.assert_close(value.detach(), expected[key], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "rule, words",
    [
        (o.asam(0.1, 0.2), "give it the model"),
        (o.k_sam(0.1, 0.2, 2), "groups of m = 1"),
        (o.sampa(0.1, 0.2), "previous step"),
    ],
)
def test_a_closure_shows_neither_names_nor_samples(rule, words):
    module = network()
    optimizer = o.as_torch(rule, module.parameters())
    with pytest.raises(ValueError, match=words):
        optimizer.step(lambda: torch.nn.functional.mse_loss(module(INPUTS), TARGETS))


def test_memory_survives_saving_and_loading():
    rule, ends = o.vasso(0.1, 0.2, beta=0.9), []
    for interrupted in (False, True):
        module = network()
        optimizer = o.as_torch(rule, module, loss=torch.nn.functional.mse_loss)
        for step in range(4):
            if interrupted and step == 2:
                saved = optimizer.state_dict()
                optimizer = o.as_torch(rule, module, loss=torch.nn.functional.mse_loss)
                optimizer.load_state_dict(saved)
            optimizer.step(INPUTS, TARGETS)
        ends.append(torch.cat([value.detach().flatten() for value in module.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-14, atol=0)
