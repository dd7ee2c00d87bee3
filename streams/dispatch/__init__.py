"""Dispatch: what is known of a scheduling domain, and the decisions of its ticks."""
