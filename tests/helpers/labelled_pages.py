"""A few labelled pages in the form of the training data, made up for the tests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

MENU = ("Home", "About us", "Contact", "Sign in", "Subscribe now", "Share on Facebook")
PROSE = (
    "The river rises in the hills above the town and runs for ninety miles to the sea.",
    "Its water drove eleven mills in the eighteenth century, of which two still stand.",
    "A bridge of stone was built after the flood of 1795 and carries the old road.",
    "Otters came back to the upper reaches when the last of the dye works had closed.",
)


def record(number: int, rendering: str = "wet", lang: str = "en", **changes: Any) -> dict[str, Any]:
    """One record: menu, prose that turns with the number, menu again."""
    prose = [PROSE[(number + i) % len(PROSE)] for i in range(3)]
    rows = [
        *({"text": text, "label": "remove", "cov": 0.0} for text in MENU[:3]),
        *({"text": text, "label": "keep", "cov": 1.0} for text in prose),
        *({"text": text, "label": "remove", "cov": 0.0} for text in MENU[3:]),
    ]
    return {
        "id": f"page-{number}",
        "domain": f"site-{number}.example",
        "lang": lang,
        "rendering": rendering,
        "raw_text": "\n".join(str(row["text"]) for row in rows),
        "gold_text": "\n".join(prose),
        "lines": rows,
        "hints": {"max_line_share": 0.3},
        **changes,
    }


def write_records(path: Path, records: list[dict[str, Any]]) -> Path:
    """Write records as jsonl.gz."""
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in records)
    return path
