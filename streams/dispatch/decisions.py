"""The tick's decisions as rows: energies as integers, prices rounded once, proof beside them.

Energies are rounded half to even to mJ each; used is taken from available and curtailed is the
rest, so that the parts are the whole. Prices are int64 micro-currency per MWh.
"""

from typing import Any

import numpy as np

from kernels.balance import Dispatch
from kernels.match import ANY, RESOURCES, Reason
from schemas.registry import Domain
from schemas.units import MJ_PER_MWH
from streams.dispatch.balancing import Balanced
from streams.dispatch.matching import MENDABLE, Matched
from streams.dispatch.state import Market

Rows = list[dict[str, Any]]

_MICRO = 1_000_000
_PPM = 1_000_000


def proof(result: Any, objective: float, lower_bound: float) -> dict[str, float]:
    return {"objective": objective, "lower_bound": lower_bound, "gap_rel": float(result.gap_rel)}
