"""Sites: dispatch of many independent sites in one call, each plan exact and certified.

    minimise    the model of README.md, one site a row, no links
    by          dynamic programming over the storage's energy; a price mu for the requirement

A row with several storages that move or several requirements goes to HiGHS, and so does a row
whose gap is above 1e-9; SitePlans.method says which. GRIDLOOM_PURE=1 runs the plain twin.
"""

import os
from dataclasses import replace
from importlib import import_module
from operator import attrgetter
from threading import Lock, Thread
from typing import Any

import numpy as np

from kernels.balance.columns import Status
from kernels.balance.sites_certificate import prover
from kernels.balance.sites_checks import refusals
from kernels.balance.sites_columns import COLUMNS, HIGHS, PLAN_AXES, SitePlans, Sites
from kernels.balance.sites_programme import solve_row
from schemas.errors import FieldError

_CHUNK = 32  # rows that a thread takes at a time: a few ms
_columns = attrgetter(*COLUMNS)


class Workspace:
    """Buffers for balance_sites, reused from call to call; for one call at a time."""

    def __init__(self) -> None:
        self.engine, self.prove_rows = _engine(), prover()
        self._buffers: list[Any] = []

    def buffer(self, thread: int) -> Any:
        """The buffers of a thread, made when first asked for."""
        while len(self._buffers) <= thread:
            self._buffers.append(self.engine.Workspace())
        return self._buffers[thread]


def _engine() -> Any:
    """The module with Workspace, empty_columns and solve_rows: sites_reference or its twin."""
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return import_module("kernels.balance.sites_reference")
    return import_module("kernels.balance._sites")


def balance_sites(
    sites: Sites,
    warm: SitePlans | None = None,
    threads: int = 1,
    workspace: Workspace | None = None,
) -> SitePlans:
    """The least-cost plan of each site with its prices, lower bound and residual.

    warm: the last tick's plans of the same sites; its mu is where the search begins. The cost is
    the same as without. threads: the bytes of the result do not depend on it.

    A bad value takes its own row out (BAD_INPUT, errors) and never raises. FieldError: warm is of
    other sites; fewer than one thread.
    """
    shape = sites.shape
    if threads < 1:
        raise FieldError("range", "threads", f"{threads} threads", "give at least 1")
    if warm is not None and warm.mu.shape != sites.flex_energy_mwh.shape:
        shown = f"{warm.mu.shape} beside {sites.flex_energy_mwh.shape}"
        raise FieldError("shape", "warm.mu", shown, "give the plans of the same sites")
    workspace = workspace or Workspace()
    plans = SitePlans(*workspace.engine.empty_columns(shape))
    run = _Run(sites, plans, None if warm is None else warm.mu, workspace)
    if threads == 1 or shape[0] <= _CHUNK:
        run.rows(0, shape[0], 0)
    else:
        run.all(threads)
    if run.special:
        return _finish(sites, plans, run)
    return plans


class _Run:
    """One call's columns as the loops take them, and which rows are still to be solved."""

    def __init__(self, sites: Sites, plans: SitePlans, mu: Any, workspace: Workspace) -> None:
        self.shape = sites.shape
        self.given = _columns(sites)
        self.found = _found(plans)
        self.status, self.method = plans.status, plans.method
        self.mu, self.workspace = mu, workspace
        self.special = 0  # rows left out, left to HiGHS, or with a loose gap
        self._next = 0
        self._lock = Lock()
        self._failed: BaseException | None = None

    def rows(self, first: int, last: int, thread: int) -> None:
        """Solve and prove rows first to last."""
        marks = (self.status, self.method)
        buffer = self.workspace.buffer(thread)
        special = self.workspace.engine.solve_rows(
            self.given, self.found, marks, self.shape, self.mu, first, last, buffer
        )
        special += self.workspace.prove_rows(
            self.given, self.found, self.status, self.shape, first, last
        )
        if special:
            with self._lock:
                self.special += special

    def all(self, threads: int) -> None:
        """Solve all rows: each thread takes the next few until none is left."""
        for thread in range(threads):
            self.workspace.buffer(thread)
        helpers = [Thread(target=self._take, args=(n,)) for n in range(1, threads)]
        for helper in helpers:
            helper.start()
        self._take(0)
        for helper in helpers:
            helper.join()
        if self._failed is not None:
            raise self._failed

    def _take(self, thread: int) -> None:
        try:
            while self._failed is None:
                with self._lock:
                    first = self._next
                    self._next = last = min(first + _CHUNK, self.shape[0])
                if first == last:
                    return
                self.rows(first, last, thread)
        except BaseException as error:  # raised again by the caller's thread
            self._failed = error


_found = attrgetter(*PLAN_AXES)


def _finish(sites: Sites, plans: SitePlans, run: _Run) -> SitePlans:
    """Rows that the dynamic programme left, one at a time; names for what was refused."""
    loose = (plans.status & Status.GAP_LOOSE.value) > 0
    for row in np.flatnonzero(loose | (plans.method == HIGHS)).tolist():
        _by_highs(sites, plans, run, row)
    bad = np.flatnonzero(plans.status & Status.BAD_INPUT.value).tolist()
    return replace(plans, errors=refusals(sites, bad))


def _by_highs(sites: Sites, plans: SitePlans, run: _Run, row: int) -> None:
    """The row's plan from HiGHS, cold; kept where its gap is the smaller."""
    before = [column[row].copy() for column in (*run.found, plans.status, plans.method)]
    gap, several = abs(float(plans.gap_rel[row])), bool(plans.method[row] == HIGHS)
    plans.status[row] &= (Status.SOC0_CLAMPED | Status.RESERVE_SHORT).value
    plans.method[row] = HIGHS
    solved = solve_row(sites, plans, row)
    run.workspace.prove_rows(run.given, run.found, plans.status, run.shape, row, row + 1)
    if not several and not (solved and abs(float(plans.gap_rel[row])) < gap):
        for column, kept in zip((*run.found, plans.status, plans.method), before, strict=True):
            column[row] = kept
