"""Every example in a docstring gives what it says, and every public function that a reader calls has one."""

import doctest
import importlib
import inspect
import pkgutil

import matplotlib
import pytest

import workbench

matplotlib.use("agg")
MODULES = [
    module.name
    for module in pkgutil.walk_packages(workbench.__path__, "workbench.")
    if not module.name.endswith("__main__") and ".shipped" not in module.name and ".warm" not in module.name
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    if ">>>" not in (inspect.getsource(module) or ""):
        return
    failed = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).failed
    assert failed == 0


@pytest.mark.parametrize("package", ["curvature", "dynamics", "optimizers"])
def test_every_public_callable_has_an_example_that_is_run(package):
    namespace = importlib.import_module(f"workbench.{package}")
    public = {name: getattr(namespace, name) for name in namespace.__all__ if callable(getattr(namespace, name))}
    run = {
        test.name
        for module in {thing.__module__ for thing in public.values()}
        for test in doctest.DocTestFinder().find(importlib.import_module(module))
        if test.examples
    }
    without = [name for name, thing in public.items() if f"{thing.__module__}.{thing.__qualname__}" not in run]
    assert without == [], f"give these a short example: {', '.join(without)}"
