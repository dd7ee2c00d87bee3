"""Many networks in one call: each solved as `balance` solves it, on as many threads as are given.

The iterations of the interior point run without the interpreter's lock; the checks and the arrays
of a result do not. Each thread has its own workspace, and a network's bytes depend on its own
values alone: not on its neighbours, nor on the number of threads.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from kernels import balance as kernel
from kernels.balance.columns import Dispatch, Network
from schemas.errors import FieldError


def balance_networks(
    networks: Sequence[Network],
    last: Sequence[Dispatch | None] | None = None,
    later: int = 0,
    threads: int = 1,
) -> tuple[Dispatch, ...]:
    """The least-cost plan of each network, in their order; networks may differ in shape.

    last: the plans of an earlier tick, one a network or None; see `balance`. Raises FieldError
    where last is of other networks, or for fewer than one thread.
    """
    if threads < 1:
        raise FieldError("range", "threads", f"{threads} threads", "give at least 1")
    starts = last if last is not None else [None] * len(networks)
    if len(starts) != len(networks):
        shown = f"{len(starts)} plans for {len(networks)} networks"
        raise FieldError("shape", "last", shown, "give one plan, or None, a network")
    if threads == 1 or len(networks) < 2:
        pairs = zip(networks, starts, strict=True)
        return tuple(kernel.balance(network, start, later) for network, start in pairs)
    with ThreadPoolExecutor(threads) as pool:
        laters = [later] * len(networks)
        return tuple(pool.map(kernel.balance, networks, starts, laters))
