"""A papermill engine whose kernels are forked from a clean parent that has imported the slow libraries.

Starting a Python kernel and importing torch, xarray and seaborn costs 4 to 8 s; a fork of a process that has done so costs
a few hundredths. Every notebook still gets a fresh process of its own. Where forking is not available, or when
WORKBENCH_PLAIN_KERNELS=1, the engine starts plain kernels instead.
"""

from __future__ import annotations

from typing import Any


class ForkedEngine:
    """`papermill --engine workbench-forked notebook.ipynb out.ipynb`.

    Papermill loads its engines while it is being imported; therefore this class imports papermill only when it is used.
    """

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, **options: Any) -> Any:
        """Execute a notebook; see `client.ManagedEngine.execute_managed_notebook` for the options beyond papermill's."""
        from workbench.batch.running.client import ManagedEngine

        return ManagedEngine.execute_notebook(nb, kernel_name, **options)

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """The kernel named by the notebook; plain "python3" where it names none."""
        return name or nb.metadata.get("kernelspec", {}).get("name") or "python3"

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Always Python: these kernels know nothing else."""
        return language or "python"
