"""Cases of the hierarchy tests: domains in a tree, each with a partition and a market of its own.

Every domain has one region; a site offers 10 cores and 1 MW, a child what it is said to. What one
domain writes to another lies in its `mail` until it is delivered.
"""

import json
from collections import defaultdict

import streams.agents  # noqa: F401  (registers the stages)
from schemas import MARKET
from schemas.registry import Domain, parse_entry
from streams.agent import STAGES, Batch
from streams.dispatch.state import Markets
from streams.registry import Registry
from tests.unit.dispatch_cases import HOUR_MS, T0, job, region, site, tick

STEP = STAGES["dispatch.market"].step


def quota(quota_id="q", account="bank", **limits):
    return {"id": quota_id, "account_id": account, "limits": limits}


def banks(name, cores=1, hours=1, **given):
    """A job of the bank."""
    given = {"cores_milli": cores * 1000, "power_w": 1_000, "account_id": "bank"} | given
    return job(name, duration_ms=hours * HOUR_MS, **given)


class Realm:
    """Domains by name: `tree` says the parent of each, None for the first."""

    def __init__(self, tree, steps=4):
        self.tree, self.steps = tree, steps
        self.registry, self.entries = Registry(), 0
        self.markets = {name: Markets() for name in tree}
        self.mail = {name: [] for name in tree}
        self.log = {name: [] for name in tree}  # the rows of each partition, in order
        self.sent = 0
        for number, (name, parent) in enumerate(tree.items()):
            self.register(Domain(id=name, partition=number % 8, steps=steps, parent=parent))

    def register(self, entry):
        self.registry.put(entry, self.entries)
        self.entries += 1

    def policy(self, name, *quotas, hour=0):
        entry = {"kind": "policy", "id": name, "quotas": quotas}
        entry["valid_from_ms"] = T0 + hour * HOUR_MS
        self.register(parse_entry(json.dumps(entry).encode()))

    def children(self, name):
        return [child for child, parent in self.tree.items() if parent == name]

    def furnish(self, sites=1, hours=48, own=()):
        """A region everywhere; sites in the leaves, and as much of each child in its parent.

        `own`: domains that have a site of their own beside their children.
        """
        for name in self.tree:
            self.send(name, region("north", 100, hours=hours, import_max_mw=1e3))
            offers = [site(f"{name}-{n}", "north") for n in range(sites)]
            if below := self.children(name):
                offers = [site(child, "north", **self._offer(child, sites)) for child in below]
            if below and name in own:
                offers.append(site(f"{name}-own", "north"))
            self.send(name, *offers)

    def _offer(self, name, sites):
        leaves = sum(not self.children(one) for one in self._under(name)) * sites
        return {"cores_milli": leaves * 10_000, "power_w": leaves * 1_000_000}

    def _under(self, name):
        return [name, *(one for child in self.children(name) for one in self._under(child))]

    def placed(self, name, *rows):
        """The rows as ingest writes them to the domain's partition."""
        found = []
        for row in rows:
            place = {"source": "market.in", "source_partition": 0, "source_offset": self.sent}
            place |= {"source_row": 0, "received_ms": T0, "registry_offset": 0, "domain": name}
            found.append(place | row)
            self.sent += 1
        return found

    def apply(self, name, rows):
        """The emit of a batch of the domain's partition; its mail goes to the boxes."""
        self.log[name] += rows
        batch = Batch(MARKET, 0, 0, MARKET.rows(rows), self.registry.at(self.entries), self.entries)
        emit = STEP(self.markets[name], batch)
        for output in emit.outputs:
            if output.topic is MARKET:
                for row in output.rows.to_pylist():
                    self.mail[row["domain"]].append(row)
        return emit

    def send(self, name, *rows):
        return by_topic(self.apply(name, self.placed(name, *rows)))

    def deliver(self, *names):
        """All mail of these domains, or of all, until there is none; what the domains emit."""
        found = defaultdict(list)
        while box := next((n for n in names or self.tree if self.mail[n]), None):
            rows, self.mail[box] = self.mail[box], []
            for topic, made in by_topic(self.apply(box, rows)).items():
                found[topic] += made
        return found

    def tick(self, hour, *names):
        """A tick of every domain, parents first, and all mail."""
        found = defaultdict(list)
        for name in names or self.tree:
            for topic, rows in self.send(name, tick(hour)).items():
                found[topic] += rows
        for topic, rows in self.deliver().items():
            found[topic] += rows
        return found

    def market(self, name):
        return self.markets[name].of(name)

    def running(self, name):
        """Jobs that run at sites under the domain: children's own, not its view of them."""
        return [
            run
            for one in self._under(name)
            for run in self.market(one).running
            if run.site_id not in self.tree
        ]

    def use(self, name, account, kind=0):
        """Hour -> use of an account under the domain, of what runs now."""
        return [
            sum(
                run.demand[kind]
                for run in self.running(name)
                if run.account_id == account and run.start_ms <= T0 + hour * HOUR_MS < run.end_ms
            )
            for hour in range(48)
        ]


def by_topic(emit):
    found = defaultdict(list)
    assert not emit.refused
    for output in emit.outputs:
        found[output.topic.name] += output.rows.to_pylist()
    return found


def newest(placements):
    """(domain, job) -> its newest placement."""
    rank = {}
    for row in placements:
        key, at = (row["domain"], row["job_id"]), (row["tick_ms"], row["revision"])
        if key not in rank or at >= (rank[key]["tick_ms"], rank[key]["revision"]):
            rank[key] = row
    return rank
