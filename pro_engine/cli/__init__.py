"""The command line, `pro-engine`."""

from __future__ import annotations


def start() -> None:
    """The console script: what takes time is imported once signals are listened to."""
    from pro_engine.cli import stop

    stop.listen()
    from pro_engine.cli.main import main

    main()
