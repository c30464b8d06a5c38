'''A paper's card, its claims, and the statistics that turn samples into a verdict.

A card is one file, `papers/<slug>/paper.toml`:

>>> import os, pathlib, tempfile
>>> folder = pathlib.Path(tempfile.mkdtemp()) / "gradient-descent"
>>> folder.mkdir()
>>> _ = (folder / "paper.toml").write_text("""
... [paper]
... slug = "gradient-descent"
... title = "On steps"
... authors = ["A. Author"]
... year = 2024
...
... [parameters.n_seeds]
... type = "int"
... default = 10
... min = 1
... meaning = "number of runs"
...
... [parameters.step_size]
... type = "float"
... default = 0.1
... meaning = "the small step size; the large one is 0.5"
...
... [presets.smoke]
... n_seeds = 6
...
... [[claim]]
... id = "small-steps-win"
... statement = "Small steps generalise better"
... source = "Table 1"
... origin = "printed"
... paper = "-0.3 pp"
... seeds = "n_seeds"
...
... [[claim.control]]
... name = "same-steps"
... set = { step_size = 0.5 }
...
... [[claim.condition]]
... quantity = "test error, small minus large steps"
... unit = "pp"
... statistic = "mean"
... relation = "<"
... threshold = 0
... """)

A notebook reads it, validates its parameters before computing, hands over its samples and closes with the scoreboard:

>>> os.environ["WORKBENCH_PAPERS"] = str(folder.parent)
>>> from workbench.claims import card
>>> gradient_descent = card("gradient-descent")
>>> gradient_descent.parameters(preset="smoke").n_seeds     # a notebook says card.parameters(globals())
6
>>> gradient_descent.check("small-steps-win", [-0.31, -0.25, -0.36, -0.29, -0.33, -0.27] * 2)
✔ reproduced: small-steps-win
  claim   Small steps generalise better (Table 1; printed)
  paper   -0.3 pp
  ours    test error, small minus large steps: mean -0.302 [-0.329, -0.277] pp (95 %, n = 12); claimed < 0 pp
  control same-steps (not audited)
>>> gradient_descent.scoreboard().counts["reproduced"]
1
>>> del os.environ["WORKBENCH_PAPERS"]
'''

from .card import Card, card, cards
from .errors import CardError, ParameterError
from .verdict import Verdict
from .written.schema import Claim

__all__ = ["Card", "CardError", "Claim", "ParameterError", "Verdict", "card", "cards"]
