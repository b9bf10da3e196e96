"""Prompts are files: a system message, a line `---`, and a user message in which `{text}` stands for the text.

Above the line there may be nothing: some models take no system message.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from prox_spark.errors import ConfigError

SEPARATOR = "\n---\n"
PLACE = "{text}"


@dataclass(frozen=True)
class Prompt:
    """What a model is told, word for word. name: of the file, without its ending."""

    name: str
    system: str
    user: str

    def messages(self, text: str) -> list[dict[str, str]]:
        """Return the chat messages about a text; whatever the text holds, it is put in once and as it is."""
        before, after = self.user.split(PLACE)
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": f"{before}{text}{after}"}]

    @property
    def size(self) -> int:
        """Characters of the prompt without a text."""
        return len(self.system) + len(self.user) - len(PLACE)


def load_prompt(task: str, dialect: str, path: str | None = None) -> Prompt:
    """Return the prompt of a task (of `program`: in a dialect), or that of a file.

    Raises ConfigError when the file cannot be read or has another form.
    """
    name = f"{task}-{dialect}" if task == "program" else task
    if path is None:
        return read_prompt(name, (files("prox_spark.annotate") / "prompts" / f"{name}.txt").read_text("utf-8"))
    try:
        return read_prompt(Path(path).stem, Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the prompt {path!r}: {error}") from None


def read_prompt(name: str, written: str) -> Prompt:
    """Return the prompt that a file's text holds; raises ConfigError."""
    system, separator, user = f"\n{written}".replace("\r\n", "\n").partition(SEPARATOR)
    if not separator or user.count(PLACE) != 1:
        raise ConfigError(
            f"the prompt {name!r} must be a system message, a line '---', and a user message with {PLACE} once"
        )
    return Prompt(name, system.strip(), user.strip())
