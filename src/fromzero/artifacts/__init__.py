"""Directories that are either finished and digested, or not there: the ground floor of every stage."""

from fromzero.artifacts.artifact import Artifact as Artifact
from fromzero.artifacts.artifact import ArtifactError as ArtifactError
from fromzero.artifacts.artifact import Draft as Draft
from fromzero.artifacts.manifest import Manifest as Manifest
