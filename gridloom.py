"""gridloom's public face: nothing but names from the three packages.

import gridloom

batch = gridloom.decode(gridloom.TOPICS["usage"], value, gridloom.header_map(headers))
"""

from kernels.match import Jobs, Network, Plan, Policy, Series, Sites, certify, match
from kernels.meter import Slots
from kernels.rollup import Merge, Windows
from schemas import TOPICS, Column, GridloomError, Topic, partition_of
from schemas.codec import decode, encode, header_map
from schemas.registry import AnyEntry, format_entry, parse_entry
from schemas.units import energy_mj, to_base
from streams.agent import STAGES, Batch, Delivery, Emit, Output, Refused, agent
from streams.broker import Broker
from streams.feeds import Feed, open_feed
from streams.feeds.player import play
from streams.settings import Settings, settings

__all__ = [
    "STAGES",
    "TOPICS",
    "AnyEntry",
    "Batch",
    "Broker",
    "Column",
    "Delivery",
    "Emit",
    "Feed",
    "GridloomError",
    "Jobs",
    "Merge",
    "Network",
    "Output",
    "Plan",
    "Policy",
    "Refused",
    "Series",
    "Settings",
    "Sites",
    "Slots",
    "Topic",
    "Windows",
    "agent",
    "certify",
    "decode",
    "encode",
    "energy_mj",
    "format_entry",
    "header_map",
    "match",
    "open_feed",
    "parse_entry",
    "partition_of",
    "play",
    "settings",
    "to_base",
]
