"""Rules in a notebook: text always, the pass band where there is one."""

from xml.etree import ElementTree

import pytest
import torch

from workbench import optimizers


def drawing(rule):
    html = rule._repr_html_()
    return html, ElementTree.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])


@pytest.mark.parametrize("kind", ["gd", "usam", "two_step_usam", "nested_usam", "hessian_usam", "gradient_penalty"])
@pytest.mark.parametrize("step_size", [1e-4, 0.3, 50.0])
def test_the_shaded_part_is_the_pass_band_on_one_scale(kind, step_size):
    rule = optimizers.by_name(kind, step_size, rho=0.4)
    html, svg = drawing(rule)
    intervals = optimizers.admissible_set(rule)
    bars = [node for node in svg if node.tag == "rect"]
    assert len(bars) == len(intervals)
    assert f"{intervals[-1][1]:.4g}" in html
    wide = [(b, i) for b, i in zip(bars, intervals, strict=True) if float(b.get("width")) > 2]
    scales = [float(bar.get("width")) / (high - low) for bar, (low, high) in wide]
    assert scales and max(scales) == pytest.approx(min(scales), rel=0.05)
    assert all(float(b.get("x")) >= 0 and float(b.get("x")) + float(b.get("width")) <= 320 for b in bars)


@pytest.mark.parametrize(
    "rule",
    [
        optimizers.sam(0.1, 0.05),
        optimizers.gradient_descent(lambda count: 0.1 / (1 + count)),
        optimizers.gradient_descent(torch.tensor([0.1, 0.2])),
    ],
)
def test_rules_without_a_filter_say_why(rule):
    html = rule._repr_html_()
    assert ("<svg" not in html and "filter" in html) or "differs from run to run" in html


def test_names_are_escaped():
    assert "&lt;" in optimizers.gradient_descent(lambda count: 0.1)._repr_html_()
