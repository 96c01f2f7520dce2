"""A command that was cut short is gone on with: what it had finished is not done again, and its run goes on.

Which command it is depends on the pipelines named, the configuration, and the code; not on the machine. Its
record lies in `.attempts/` until the command ends well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fromzero.identity import WHERE_NOT_WHAT
from fromzero.training.fingerprint import code


@dataclass
class Attempt:
    """What is known of one command, however many processes it takes.

    Attributes:
        nodes: that it had to run when it first began.
        done: of these, the ones whose outputs are safe.
        run: id of its run in the store `uri` of MLflow.
        result: what came out, of a command that another one waits for.
    """

    file: Path
    nodes: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    uri: str | None = None
    run: str | None = None
    result: dict[str, Any] | None = None

    @classmethod
    def of(cls, pipelines: Sequence[str], config: Mapping[str, Any]) -> Attempt:
        """The attempt at this command that was cut short, or a new one."""
        what = {section: value for section, value in config.items() if section not in WHERE_NOT_WHAT}
        text = json.dumps([list(pipelines), what, code()], sort_keys=True, default=str)
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        attempt = cls(Path(config["paths"]["scratch"]) / ".attempts" / f"{key}.json")
        try:
            return cls(attempt.file, **json.loads(attempt.file.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError):  # none, half of one, or that of another version
            return attempt

    def covers(self, nodes: Collection[str]) -> bool:
        """Whether `nodes`, to be run now, are what it has left; else something has changed since."""
        return set(nodes) <= set(self.nodes) - set(self.done)

    def begin(self, nodes: Sequence[str]) -> None:
        """Starts anew, with all `nodes` to run."""
        self.nodes, self.done, self.uri, self.run = list(nodes), [], None, None
        self._write()

    def track(self, uri: str, run: str) -> None:
        self.uri, self.run = uri, run
        self._write()

    def finish_node(self, name: str) -> None:
        self.done.append(name)
        self._write()

    def finish(self, result: dict[str, Any]) -> None:
        self.result = result
        self._write()

    def end(self) -> None:
        self.file.unlink(missing_ok=True)

    def _write(self) -> None:
        values = {name: value for name, value in asdict(self).items() if name != "file"}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(values), encoding="utf-8")
        draft.replace(self.file)


_current: Attempt | None = None


def current_attempt() -> Attempt | None:
    """That of this process; None where Kedro was started in another way than by `kedro run`."""
    return _current


def set_current_attempt(attempt: Attempt | None) -> None:
    global _current
    _current = attempt
