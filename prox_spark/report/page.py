"""The report as one HTML file: no script, no font, no image, nothing fetched; every text from a page is escaped."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from prox_spark.errors import ConfigError
from prox_spark.report import words
from prox_spark.report.diff import diff_page
from prox_spark.report.summary import Summary
from prox_spark.version import __version__

TEMPLATES = Path(__file__).parent / "templates"
CONTEXT_LINES = 3
LONGEST_LINE = 600
LONGEST_EDIT = 1200


def render_html(summary: Summary) -> str:
    """Return the whole report as HTML text; encode it as UTF-8.

    Raises ConfigError when Jinja2 is not installed (the `report` extra).
    """
    text: str = (
        environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            last=summary.last_work,
            settings=_settings(summary),
            pages=[(page, diff_page(page, CONTEXT_LINES)) for page in summary.pages],
            most=max((line.documents for line in summary.removed_lines), default=1),
            version=__version__,
            css=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        )
    )
    return text


@cache
def environment() -> Any:
    """Return the templates' environment, in which everything is escaped; ConfigError without Jinja2."""
    try:
        import jinja2
    except (ImportError, PackageNotFoundError) as error:
        raise ConfigError("The report needs Jinja2. Install it with: pip install 'prox-spark[report]'") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Everything that is shown passes through here, so that no character of a page is acted on or breaks the file.
        finalize=_shown,
    )
    environment.filters.update(
        number=words.number, seconds=words.seconds, size=words.size, moment=words.moment,
        share=words.share, shorten=words.shorten,
    )  # fmt: skip
    environment.globals.update(
        status_meaning=words.STATUS_MEANING, longest_line=LONGEST_LINE, longest_edit=LONGEST_EDIT, advice=words.advice
    )
    return environment


def _shown(value: Any) -> Any:
    """Make control characters visible in plain text; what is marked safe is our own CSS and stays."""
    return words.visible(value) if type(value) is str else value


def _settings(summary: Summary) -> dict[str, str]:
    """The settings of the last run that did work, as text; an unreadable one is shown as it is."""
    run = summary.last_work
    if run is None or not run.settings:
        return {}
    try:
        loaded = json.loads(run.settings)
    except ValueError:
        return {"settings": run.settings}
    if not isinstance(loaded, dict):
        return {"settings": run.settings}
    return {str(k): v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in sorted(loaded.items())}
