"""Job ids: their order, and where those of one table are in another.

_ids.pyx does the same in one pass each; GRIDLOOM_PURE=1 chooses this one.
"""

import os

import numpy as np

from kernels.match.columns import ANY, I64, Texts


def order_of(ids: Texts) -> tuple[I64 | None, bool]:
    """Rows in order of their id, None where they are so already; whether an id comes twice."""
    if not _is_pure():
        from kernels.match._ids import order as compiled

        found: tuple[I64 | None, bool] = compiled(ids)
        return found
    order = np.argsort(ids, kind="stable")
    ascending = ids[order]
    as_given = bool((order[1:] > order[:-1]).all())
    return None if as_given else order, bool((ascending[1:] == ascending[:-1]).any())


def places_of(known: Texts, wanted: Texts) -> I64:
    """Index [n] in `known` of each of `wanted`, which are ascending; -1 = not there."""
    if _is_pure():
        order = np.argsort(known, kind="stable")
        ascending = known[order]
        at = np.searchsorted(ascending, wanted).clip(0, len(known) - 1)
        return np.where(ascending[at] == wanted, order[at], ANY)
    from kernels.match._ids import places as compiled

    found: I64 | None = compiled(known, wanted)
    if found is None:  # they do not ascend
        row, _ = order_of(known)
        assert row is not None
        found = compiled(known[row], wanted)
        return np.where(found >= 0, row[found], ANY)
    return found


def _is_pure() -> bool:
    return os.environ.get("GRIDLOOM_PURE") == "1"
