"""Fixtures of these tests: studies without training."""

from studies import begin  # noqa: F401
