"""The contract: what every method must keep on every model, for methods of one's own too.

    from pftlab.testing import check_method, parametrize

    check_method(Mine())            # an AssertionError has a line for each check that is broken

    @parametrize(Mine())            # or each check as a test of pytest
    def test_contract(check):
        check()

A check is a function in `checks`; its name is what the report shows. What a method claims of itself
(`identity_at_start`, `mergeable`, `model_tasks`, …, see `pftlab.facts.Facts`) decides what is asked
of it. The models are tiny and random, of every supported architecture.
"""

from .checks import CHECKS, Case, Check, check
from .contract import Outcome, check_method, outcome, outcomes, parametrize
from .models import FEW, MODELS, batch, logits, output, perturb, ragged, tiny

__all__ = [
    "CHECKS",
    "FEW",
    "MODELS",
    "Case",
    "Check",
    "Outcome",
    "batch",
    "check",
    "check_method",
    "logits",
    "outcome",
    "outcomes",
    "output",
    "parametrize",
    "perturb",
    "ragged",
    "tiny",
]
