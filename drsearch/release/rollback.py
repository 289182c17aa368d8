"""How does the champion before the present one come back? Without judging anything, and written down."""

import tempfile
from pathlib import Path

from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.release.decisions import Decision, Decisions, Draft, heading, previous_champion
from drsearch.release.registry import ModelVersion, Registry


class Rollback:
    """The way back to the champion before.

    Args:
        name: Of the registered model.
        home: Its MLflow keeps the registry and the decisions.

    Attributes:
        standing: What the decision starts from.
        to: The version that comes back.

    Raises:
        RegistryError: If there is no champion, or none was before it, or that version is gone.
    """

    def __init__(self, name: str, home: Home) -> None:
        registry = Registry(home.tracking_uri)
        self._decisions = Decisions(registry, home)
        self.standing = self._decisions.standing(name)
        if self.standing.champion is None:
            raise RegistryError(f"{name} has no champion to roll back from; `drsearch promote {name}` makes one.")
        before = previous_champion(self._decisions.history(name), self.standing.champion.version)
        if before is None:
            raise RegistryError(
                f"version {self.standing.champion.version} is the first champion of {name}; there is none to go back "
                f"to. `drsearch promote {name} --version N` makes another one champion."
            )
        self.to: ModelVersion = registry.version(name, before)

    def decide(self, reason: str) -> Decision:
        """Make the champion before the champion again, and write it down.

        Raises:
            Overtaken: If another decision was faster.
        """
        champion = self.standing.champion
        assert champion is not None
        note = heading(self.to, champion, "rolled back", reason) + (
            "\n\nNothing was judged: the version had been champion before."
        )
        with tempfile.TemporaryDirectory() as folder:
            draft = Draft(self.to, "rolled back", champion, reason, note=note)
            return self._decisions.carry_out(self.standing, draft, Path(folder))
