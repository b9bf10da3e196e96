"""Templates with alternatives and slots, filled with what is found in pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import yaml

_ESCAPES = {"\\[": "\ue000", "\\]": "\ue001", "{{": "\ue002", "}}": "\ue003"}
_CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


def load_templates(name: str) -> dict[str, tuple[str, ...]]:
    """The templates of ``templates/NAME.yaml`` by section."""
    path = Path(__file__).parent / "templates" / f"{name}.yaml"
    sections: dict[str, str] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {section: tuple(lines.splitlines()) for section, lines in sections.items()}


def spin(template: str, chance: Random, fillers: Mapping[str, Callable[[], str]]) -> str:
    r"""Choose one of every ``[a|b]``, innermost first, and put a new filling into every ``{slot}``.

    Brackets without a bar stand for themselves; ``\[``, ``\]``, ``{{`` and ``}}`` for the character.
    """
    for escaped, stand_in in _ESCAPES.items():
        template = template.replace(escaped, stand_in)
    while choice := _CHOICE.search(template):
        picked = chance.choice(choice.group(1).split("|"))
        template = template[: choice.start()] + picked + template[choice.end() :]
    filled = _SLOT.sub(lambda slot: fillers[slot.group(1)](), template)
    for escaped, stand_in in _ESCAPES.items():
        filled = filled.replace(stand_in, escaped.strip("\\")[0])
    return " ".join(filled.split(" ")).strip()
