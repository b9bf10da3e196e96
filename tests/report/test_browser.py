"""Our HTML pages in a real browser: text of a page that spells a script runs nothing.

The pages forbid scripts by a policy as well; it is taken out here, so that only escaping is between text and browser.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from prox_spark.cli_evaluate import _worst
from prox_spark.report import render_html
from prox_spark.report.comparison import render_comparison
from prox_spark.report.evaluation import render_evaluation
from prox_spark.training.evaluate import evaluate
from tests.helpers.labelled_pages import record, write_records
from tests.report import test_report
from tests.report.test_comparison import hostile

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium here (Debian and Ubuntu: apt-get install chromium)")

MARK = "document.documentElement.setAttribute('data-ran', '1')"
UP = f"parent.{MARK}"
PAYLOADS = (
    f"<script>{MARK}</script>",
    f"</td></pre></code></title></style></textarea><script>{MARK}</script>",
    f'"><img src=x onerror="{MARK}">',
    f"'><svg onload={MARK.replace(' ', '')}>",
    f'<iframe srcdoc="<script>{UP.replace(chr(39), "&#39;")}</script>"></iframe>',
    f'" autofocus tabindex=0 onfocus="{MARK}" x="',
    f'<details open ontoggle="{MARK}">',
    f"<!--><script>{MARK}</script>-->",
    f"{{{{ 7*7 }}}}{{% raw %}}<script>{MARK}</script>",
    f"\x00<scr\x00ipt>{MARK}</script>",
)
HOSTILE = "\n".join(PAYLOADS)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def ran(html: str, path: Path) -> bool:
    """Open a page in the browser, wait until it is done, and return whether a script of it ran."""
    path.write_text(html, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=3000"]
    flags += [f"--user-data-dir={path.parent / 'profile'}", "--dump-dom"]
    done = subprocess.run([BROWSER, *flags, path.as_uri()], capture_output=True, text=True, timeout=300, check=True)
    assert "</html>" in done.stdout, done.stderr[-2000:]
    return "data-ran" in done.stdout.partition(">")[0] + done.stdout.split("<html", 1)[1].partition(">")[0]


def without_policy(html: str) -> str:
    bare, found = POLICY.subn("", html)
    assert found == 1, "the page forbids scripts by itself"
    return bare


def spoilt(value: Any) -> Any:
    """Figures with the payloads in every text."""
    if isinstance(value, dict):
        return {key: spoilt(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [spoilt(one) for one in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


def test_the_browser_would_run_each_of_them(tmp_path: Path) -> None:
    for number, payload in enumerate(PAYLOADS[:3]):
        html = f"<!doctype html><html><body>{payload}</body></html>"
        assert ran(html, tmp_path / f"{number}.html"), payload


def test_the_report_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_report, "HOSTILE", HOSTILE)
    html = render_html(test_report.summary(tables=HOSTILE))
    assert html.count("&lt;script&gt;") > 20
    assert not ran(without_policy(html), tmp_path / "report.html")


def test_a_comparison_runs_nothing(tmp_path: Path) -> None:
    html = render_comparison(hostile(HOSTILE))
    assert html.count("&lt;script&gt;") > 20
    assert not ran(without_policy(html), tmp_path / "comparison.html")


def test_an_evaluation_runs_nothing(tmp_path: Path) -> None:
    data = write_records(tmp_path / "r.jsonl.gz", [record(n, kind) for n in range(3) for kind in ("wet", "extracted")])
    found = evaluate("scripted:short-lines", data)
    worst = [_worst(page) for page in found.worst]
    for page in worst:
        object.__setattr__(page.page, "text", f"{page.page.text}\n{HOSTILE}")
        object.__setattr__(page, "source", HOSTILE)
        object.__setattr__(page, "remove", [*page.remove, *[True] * len(HOSTILE.split("\n"))])
    html = render_evaluation(spoilt(found.figures()), worst)
    assert html.count("&lt;script&gt;") > 20
    assert not ran(without_policy(html), tmp_path / "evaluation.html")
