"""gridloom's public face: nothing but names from the three packages.

import gridloom

batch = gridloom.decode(gridloom.TOPICS["usage"], value, gridloom.header_map(headers))
"""

from importlib.metadata import version

from kernels.balance import Dispatch, balance, lower_bound
from kernels.balance import Network as PowerNetwork
from kernels.match import Jobs, Plan, Policy, Series, Sites, certify, match
from kernels.match import Network as Paths
from kernels.meter import Slots
from kernels.rollup import Merge, Windows
from schemas import TOPICS, Column, GridloomError, Topic, partition_of
from schemas.codec import decode, encode, header_map
from schemas.registry import AnyEntry, format_entry, parse_entry
from schemas.units import energy_mj, to_base
from streams.agent import STAGES, Batch, Delivery, Emit, Output, Refused, agent
from streams.broker import Broker
from streams.downstream import Change, Downstream
from streams.feeds import Feed, open_feed
from streams.feeds.player import play
from streams.settings import Settings, settings

__version__ = version("gridloom")

__all__ = [
    "STAGES",
    "TOPICS",
    "AnyEntry",
    "Batch",
    "Broker",
    "Change",
    "Column",
    "Delivery",
    "Dispatch",
    "Downstream",
    "Emit",
    "Feed",
    "GridloomError",
    "Jobs",
    "Merge",
    "Output",
    "Paths",
    "Plan",
    "Policy",
    "PowerNetwork",
    "Refused",
    "Series",
    "Settings",
    "Sites",
    "Slots",
    "Topic",
    "Windows",
    "agent",
    "balance",
    "certify",
    "decode",
    "encode",
    "energy_mj",
    "format_entry",
    "header_map",
    "lower_bound",
    "match",
    "open_feed",
    "parse_entry",
    "partition_of",
    "play",
    "settings",
    "to_base",
]
