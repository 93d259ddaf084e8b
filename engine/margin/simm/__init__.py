"""Standard initial margin (SIMM-type) from CRIF sensitivities, by version, horizon and side.

ISDA and SIMM are trademarks of the International Swaps and Derivatives Association; commercial
use of the model needs its licence. The formula is one; versions are data in `engine/rulebooks`.

`plan`, `scenarios` and `attribution` use compiled kernels and are imported from their own modules,
so that a plain margin does not wait for the compiler.
"""

from engine.margin.simm.calculate import simm_by_portfolio, simm_margin
from engine.margin.simm.regulations import simm_worst_of
from engine.margin.simm.result import SimmResult
from engine.margin.simm.rulebook import simm_versions
from engine.margin.simm.validate import validate_crif

__all__ = [
    "SimmResult",
    "simm_by_portfolio",
    "simm_margin",
    "simm_versions",
    "simm_worst_of",
    "validate_crif",
]
