"""Agents: one file each, its pure step over one topic; importing a file registers its stages."""
