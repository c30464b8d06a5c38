"""What counts as an operation on the parameters, what as a constant, and what is not recorded."""

import pytest
import torch

from workbench.curvature.recorded import Recorded, Unrecorded
from workbench.curvature.recorded.tape import record


def leaves():
    return [torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)]


def hessian_of(loss):
    recorded = Recorded(loss, leaves())
    return torch.stack([recorded.product(row) for row in torch.eye(3, dtype=torch.float64)])


def test_the_tape_holds_the_values_of_the_evaluation():
    tape = record(lambda held: (held[0] * 3).exp().sum(), leaves())
    names = [str(operation.function) for operation in tape.operations[1:]]
    assert names == ["aten.mul.Tensor", "aten.exp.default", "aten.sum.default"]
    torch.testing.assert_close(tape.values[-1], (leaves()[0].detach() * 3).exp().sum())
    assert not any(value.requires_grad for value in tape.values)


def test_what_autograd_takes_as_constant_is_constant():
    x = leaves()[0].detach()

    def loss(held):
        with torch.no_grad():
            silent = held[0].square()
        rounded = held[0].argmax()
        return (held[0].pow(3) * (silent + held[0].detach())).sum() * rounded

    torch.testing.assert_close(hessian_of(loss), torch.diag(6 * x * (x**2 + x)) * 2)


def test_values_that_decide_are_followed():
    def loss(held):
        return held[0].square().sum() if float(held[0][2]) > 1 else held[0].sum()

    torch.testing.assert_close(hessian_of(loss), 2 * torch.eye(3, dtype=torch.float64))


def test_what_does_not_reach_the_loss_has_no_rule():
    def loss(held):
        unused = held[0].cumprod(0)
        assert unused.requires_grad
        return held[0].square().sum()

    assert len(Recorded(loss, leaves()).steps) == 2


def test_operations_in_place_are_those_of_their_values():
    x = leaves()[0].detach()

    def loss(held):
        values = held[0] * 2
        values.add_(1.0)
        values.mul_(values.detach() * 0 + 3)
        return values.pow(3).sum()

    torch.testing.assert_close(hessian_of(loss), torch.diag(6 * (6 * x + 3) * 36))


def into_a_part(held):
    values = held[0] * 2
    values[0].mul_(3)
    return values.square().sum()


def seen_elsewhere(held):
    values = held[0] * 2
    view = values.view(3, 1)
    values.mul_(3)
    return view.square().sum()


def into_a_constant(held):
    values = torch.zeros(3, dtype=torch.float64)
    values[1:] = held[0][1:]
    return values.square().sum()


def constant_changed_afterwards(held):
    factor = torch.ones(3, dtype=torch.float64)
    value = (held[0] * factor).square().sum()
    factor.add_(1)
    return value


def complex_numbers(held):
    return torch.view_as_real(torch.fft.fft(held[0])).square().sum()


def detached(held):
    return held[0].detach().sum().requires_grad_()


@pytest.mark.parametrize(
    "loss",
    [into_a_part, seen_elsewhere, into_a_constant, constant_changed_afterwards, complex_numbers, detached],
)
def test_what_a_list_of_operations_does_not_say_is_not_recorded(loss):
    with pytest.raises(Unrecorded):
        Recorded(loss, leaves())
