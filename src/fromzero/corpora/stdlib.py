"""The text that every Python has: its own standard library, read as files and never imported.

Three kinds of documents come from it: whole source files, docstrings, and the language reference that
`help("topics")` shows. The text is read from the user's interpreter, so nothing is redistributed; another
version of Python gives another corpus, which is why the manifest names the version.
"""

from __future__ import annotations

import ast
import os
import platform
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fromzero.artifacts.manifest import digest_named
from fromzero.corpora.document import Document, Skipped
from fromzero.errors import UserError

MINIMUM_FILES = 400
"""A whole library has more than 500 files on every platform; Debian's `python3-minimal` has under 300."""

FILES_A_PART = 64
"""A third of a second: what takes time is parsing, at 5 MB/s, and not reading."""

MINIMUM_WORDS = 4
"""A docstring with fewer says nothing that its name does not."""

TOPICS = "pydoc_data/topics.py"

# Folders and files that are not there on every platform, or are not library code: tests, graphical programs,
# removed packages, generated build settings, what the administrator added, installed packages.
EXCLUDED = (
    *("test", "tests", "idle_test", "test_*.py"),
    *("idlelib", "tkinter", "turtledemo"),
    *("distutils", "lib2to3", "ensurepip"),
    *("config-*", "_sysconfigdata*", "sitecustomize.py", "usercustomize.py"),
    *("site-packages", "dist-packages", "lib-dynload", "__pycache__"),
    "pydoc_data",  # its topics are prose, and read as such
)

# Modules that say the same thing twice: a Python version beside the one that is used, a private half of a
# public module, one interface on two systems. In two splits they would leak. Left goes with right.
TWINS = {
    "_bootsubprocess.py": "subprocess.py",
    "_collections_abc.py": "collections/abc.py",
    "_py_abc.py": "abc.py",
    "_py_warnings.py": "warnings.py",
    "_pydatetime.py": "datetime.py",
    "_pydecimal.py": "decimal.py",
    "_pyio.py": "io.py",
    "_sitebuiltins.py": "site.py",
    "_strptime.py": "datetime.py",  # the other half, `time`, has no Python source
    "_threading_local.py": "threading.py",
    "_weakrefset.py": "weakref.py",
    "cProfile.py": "profile.py",
    "genericpath.py": "posixpath.py",
    "ntpath.py": "posixpath.py",
    "sre_compile.py": "re/_compiler.py",
    "sre_constants.py": "re/_constants.py",
    "sre_parse.py": "re/_parser.py",
    "xml/etree/cElementTree.py": "xml/etree/ElementTree.py",
}


class StandardLibrary:
    """The standard library of the interpreter that runs, or of the one whose library is in `root`.

    `group` is the module's file, twins under one name; `stratum` is the top-level package, `""` for modules
    that are a single file, so that these are balanced as if they were one package.
    """

    def __init__(self, root: str | None = None, minimum_files: int = MINIMUM_FILES) -> None:
        self.root = Path(root or sysconfig.get_path("stdlib"))
        self.minimum_files = minimum_files

    def parts(self) -> list[list[str]]:
        """Names of files, the topics last.

        Raises:
            UserError: the library's sources or the topics are not there.
        """
        names = [*self._files(), TOPICS]
        return [names[start : start + FILES_A_PART] for start in range(0, len(names), FILES_A_PART)]

    def read(self, part: Sequence[str]) -> Iterator[Document | Skipped]:
        """Yields sources and docstrings file by file."""
        for name in part:
            yield from _read_topics(self.root / name) if name == TOPICS else _read_module(self.root, name)

    def fingerprint(self) -> str:
        return digest_named((name, self.root / name) for name in [*self._files(), TOPICS])

    def describe(self) -> dict[str, Any]:
        return {
            "implementation": platform.python_implementation(),
            "version": platform.python_version(),
            "files": len(self._files()),
        }

    def _files(self) -> list[str]:
        names = sorted(_walk(self.root))
        if len(names) < self.minimum_files or not (self.root / TOPICS).is_file():
            raise UserError(
                f"{self.root} holds {len(names)} source files of Python's library and is not whole: "
                "use a full Python installation, or your own text: data=files 'data.paths=[folder]'"
            )
        return names


def _walk(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not _is_excluded(name)]
        for name in files:
            if name.endswith(".py") and not _is_excluded(name):
                yield Path(folder, name).relative_to(root).as_posix()


def _is_excluded(part: str) -> bool:
    return any(fnmatch(part, pattern) for pattern in EXCLUDED)


def _read_module(root: Path, name: str) -> Iterator[Document | Skipped]:
    try:
        with tokenize.open(root / name) as file:  # honors the file's own declaration of its encoding
            text = file.read()
        tree = _parse(text)
    except (OSError, SyntaxError, ValueError) as error:
        yield Skipped(name, f"is not readable as Python: {error}")
        return
    group = TWINS.get(name, name)
    stratum = group.partition("/")[0] if "/" in group else ""
    yield Document(name, group, stratum, "source", name, text)
    seen: Counter[str] = Counter()
    for qualified, line, docstring in _docstrings(tree):
        seen[qualified] += 1  # one name may be defined twice: overloads, the branches of an `if`
        again = f"#{seen[qualified]}" if seen[qualified] > 1 else ""
        place = f"{name}:{line}"
        yield Document(f"{name}:{qualified}{again}", group, stratum, "docstring", place, docstring)


def _parse(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stray backslashes in other people's strings are not our news
        return ast.parse(text)


def _docstrings(node: ast.AST, name: str = "") -> Iterator[tuple[str, int, str]]:
    """Yields (qualified name, line, docstring) of the module, class or function and of those below it."""
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        own = "" if isinstance(node, ast.Module) else node.name
        name = f"{name}.{own}" if name else own
        docstring = ast.get_docstring(node)
        if docstring and len(docstring.split()) >= MINIMUM_WORDS:
            # an escape may have made half of a surrogate pair, which UTF-8 cannot hold
            yield name, getattr(node, "lineno", 1), docstring.encode(errors="replace").decode()
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):  # where only lambdas are defined
            yield from _docstrings(child, name)


def _read_topics(path: Path) -> Iterator[Document | Skipped]:
    for topic, text in sorted(_topics(_parse(path.read_text(encoding="utf-8"))).items()):
        name = f"{TOPICS}:{topic}"
        yield Document(name, name, "pydoc_data", "prose", name, text)


def _topics(tree: ast.Module) -> dict[str, str]:
    """The dictionary that the module assigns to `topics`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "topics" for target in node.targets):
            topics: dict[str, str] = ast.literal_eval(node.value)
            return topics
    raise UserError(f"{TOPICS} of this Python has no topics: use data=files 'data.paths=[folder]'")
