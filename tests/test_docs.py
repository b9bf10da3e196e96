"""The docs keep to what is there: links lead somewhere, flags and targets exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from prox_spark import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "demo" / "README.md", *(ROOT / "docs").rglob("*.md")])


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            path, _, anchor = target.partition("#")
            there = page.parent / path if path else page
            assert there.exists(), f"{named(page)} links to {target}"
            assert not anchor or anchor in anchors(there), f"{named(page)} links to {target}"


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_of_the_docs_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md" and page.name not in index]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_flags_exist(page: Path) -> None:
    commands = get_command(cli.app).commands  # type: ignore[attr-defined]
    text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    for line in re.findall(r"^(?:\.venv/bin/)?prox-spark (.+)$", text, flags=re.MULTILINE):
        name, *words = line.split("#")[0].split()
        assert name in commands, f"{named(page)}: prox-spark {line}"
        known = {flag for parameter in commands[name].params for flag in parameter.opts}
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in known, f"{named(page)}: prox-spark {line}"


def test_the_page_of_the_command_line_knows_every_flag() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    flags = {
        flag
        for name in ("refine", "write", "execute")
        for parameter in get_command(cli.app).commands[name].params  # type: ignore[attr-defined]
        for flag in parameter.opts
        if flag.startswith("--") and flag != "--help"
    }
    assert sorted(flag for flag in flags if f"`{flag}" not in text and f" {flag}" not in text) == []


def test_targets_that_pages_name_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{named(page)}: make {target}"
