"""What a command prints, for tests of the command line."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from prox_spark import cli


def said_by(arguments: Sequence[str], capfd: pytest.CaptureFixture[str]) -> str:
    """Run a command that is to succeed, and return what it prints, in one line: a narrow terminal breaks lines."""
    capfd.readouterr()
    assert cli.run(arguments) == cli.OK
    return " ".join(capfd.readouterr().out.split())
