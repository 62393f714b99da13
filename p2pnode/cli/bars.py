"""Bars of progress and of use."""

from __future__ import annotations


def bar(share: float, columns: int) -> str:
    """A bar that is full for 1."""
    full = round(max(0.0, min(1.0, share)) * columns)
    return "█" * full + "░" * (columns - full)
