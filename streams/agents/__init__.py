"""Agents: one file each, its pure step over one topic; importing them registers their stages."""

from streams.agents import deliver, dispatch, meter, rollup, settle

__all__ = ["deliver", "dispatch", "meter", "rollup", "settle"]
