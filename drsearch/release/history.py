"""Decisions about the champion of a model, as MLflow has them, and what they say about its champions."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow.entities import Run

from drsearch.tracking.tags import (
    BY_TAG,
    DECISION_TAG,
    MODEL_TAG,
    PREVIOUS_TAG,
    REASON_TAG,
    RULE_TAG,
    TEST_EVALUATIONS_TAG,
    TEST_FINGERPRINT_TAG,
    VERSION_NUMBER_TAG,
)

_CHANGES = ("promoted", "forced", "rolled back")


@dataclass(frozen=True)
class Decision:
    """A decision about the champion of a model.

    Attributes:
        run_id: Its MLflow run.
        name: The registered model.
        at_ms: Time, milliseconds since 1970 by the clock of the machine that decided.
        outcome: `promoted`, `forced`, `rolled back`, `refused`, `declined`, `overtaken`, `denied` or `unfinished`.
        version: The version that was decided on.
        previous: The champion before; None if there was none.
        by: The person, `user@machine`.
        reason: Given by that person; may be empty.
        rule: The conditions of the rule and whether they held, separated by `; `.
        test_evaluations: Of the test split by then, as that machine counts them; None if nothing was judged.
        test_fingerprint: Of that test split; empty if nothing was judged.
    """

    run_id: str
    name: str
    at_ms: int
    outcome: str
    version: int
    previous: int | None
    by: str
    reason: str
    rule: str
    test_evaluations: int | None
    test_fingerprint: str

    @classmethod
    def from_run(cls, run: Run) -> "Decision":
        """Read a decision from the tags of its run."""
        tags = run.data.tags
        return cls(
            run_id=run.info.run_id,
            name=tags[MODEL_TAG],
            at_ms=int(run.info.start_time),
            outcome=tags[DECISION_TAG],
            version=int(tags[VERSION_NUMBER_TAG]),
            previous=int(tags[PREVIOUS_TAG]) if tags.get(PREVIOUS_TAG) else None,
            by=tags[BY_TAG],
            reason=tags.get(REASON_TAG, ""),
            rule=tags.get(RULE_TAG, ""),
            test_evaluations=int(tags[TEST_EVALUATIONS_TAG]) if TEST_EVALUATIONS_TAG in tags else None,
            test_fingerprint=tags.get(TEST_FINGERPRINT_TAG, ""),
        )

    @property
    def changed(self) -> bool:
        """Whether it made the version the champion."""
        return self.outcome in _CHANGES


def champions(history: Sequence[Decision]) -> list[int | None]:
    """The champion after each decision, as far as drsearch knew it.

    Args:
        history: All decisions about a model, the oldest first.

    Returns:
        A version number per decision; None: no champion.
    """
    numbers: list[int | None] = []
    for decision in history:
        if decision.changed:
            numbers.append(decision.version)
        elif decision.outcome in ("refused", "declined"):  # it read the alias, whoever had set that
            numbers.append(decision.previous)
        else:
            numbers.append(numbers[-1] if numbers else decision.previous)
    return numbers


def previous_champion(history: Sequence[Decision], champion: int) -> int | None:
    """The version that was champion before the present one; None if there was none.

    Champions lie on a stack: a promotion puts one on top, a rollback takes the top away. So two rollbacks go back two
    champions.

    Args:
        history: All decisions about a model, the oldest first.
        champion: The present one, whoever set it.

    Returns:
        Its version number.
    """
    stack: list[int] = []

    def put(version: int) -> None:
        if not stack or stack[-1] != version:
            stack.append(version)

    for decision in history:
        if not decision.changed:
            continue
        if decision.previous is not None:  # differs from the top if the alias was changed outside drsearch
            put(decision.previous)
        if decision.outcome == "rolled back" and decision.version in stack:
            while stack[-1] != decision.version:
                stack.pop()
        else:
            put(decision.version)
    put(champion)
    return stack[-2] if len(stack) > 1 else None
