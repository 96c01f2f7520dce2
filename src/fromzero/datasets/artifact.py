"""Kedro dataset of an artifact directory: load verifies, save publishes a draft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from fromzero.artifacts import Artifact, Draft
from fromzero.artifacts.manifest import FILE_NAME


class ArtifactDataset(AbstractDataset[Draft, Artifact]):
    """A directory with a manifest; `kind` refuses a directory of something else.

    Nodes are handed an `Artifact` (a path and a manifest, not the data) and return a `Draft`.
    """

    def __init__(self, filepath: str, kind: str, metadata: dict[str, Any] | None = None) -> None:
        self.path, self.kind = Path(filepath), kind
        self.metadata = metadata

    def load(self) -> Artifact:
        return Artifact.open(self.path)

    def save(self, data: Draft) -> None:
        assert data.kind == self.kind, f"a draft of {data.kind} cannot become {self.kind}"
        data.publish(self.path)

    def _exists(self) -> bool:
        return (self.path / FILE_NAME).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.path), "kind": self.kind}
