"""`python -m fromzero`: what `kedro run` does, from the project's folder and without its sources."""

from __future__ import annotations

from kedro.framework.project import configure_project


def main() -> None:
    configure_project("fromzero")
    from fromzero.cli import run

    run()


if __name__ == "__main__":
    main()
