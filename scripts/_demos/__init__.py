"""The demos: what all of them need, and a module for each pattern that has one. Nothing of it goes with a job."""

from __future__ import annotations


class DemoFailed(Exception):
    """Why the demo is not what it should be."""
