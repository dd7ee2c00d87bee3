"""Streams: the bridge, the agents, their exact transport and journal, the broker and the CLI."""
