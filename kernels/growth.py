"""Growth: a large state as a base and the rows it has taken in since, so that a save is small.

A ledger's state follows from the rows it accepted, in their order. It holds them in that order, so
once somebody has taken a base, `Growth` need only count what came since: the ledger's newest rows
are what a save adds. Nothing is counted for a state that is always saved whole.
"""


class Growth:
    """How many rows were accepted since the base, or since the last seal."""

    def __init__(self) -> None:
        self.rows = 0
        self.has_base = False

    def seal(self) -> None:
        """What was added is saved for good."""
        self.rows = 0

    def restart(self, has_base: bool) -> None:
        """Another base, which holds what was added; or none, because rows went."""
        self.seal()
        self.has_base = has_base
