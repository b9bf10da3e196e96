"""Words for codes and figures: what a reason means, and numbers as people read them."""

from __future__ import annotations

from datetime import datetime

from prox_spark.schemas import QUARANTINE_REASONS

# Control characters as their pictures: a page may hold any of them, and neither HTML nor a terminal may act on one.
_UNSHOWABLE = (
    *range(0x80, 0xA0),  # C1 controls
    *range(0xD800, 0xE000),  # lone surrogates: no encoding takes them
    *range(0x202A, 0x202F),  # overrides of the writing direction
    *range(0x2066, 0x206A),
    0xFFFE,
    0xFFFF,
)
_PICTURES = {n: 0x2400 + n for n in range(0x20) if chr(n) not in "\n\t"} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys(_UNSHOWABLE, 0xFFFD)

STATUS_MEANING = {
    "refined": "changed by its program",
    "unchanged": "judged clean, or passed through",
    "dropped": "not worth keeping",
    "fallback": "its program could not be used; text as it was",
    "quarantined": "could not be refined; set aside whole",
}


def visible(text: str) -> str:
    """Return the text with control, direction-changing and unencodable characters made visible."""
    return text.translate(_PICTURES)


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters, the cut marked."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def number(value: float) -> str:
    """12345 -> '12,345'."""
    return f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """The part as a percentage of the whole; '–' when there is no whole."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    return f"{percent:.1f}%" if 0 < percent < 10 or 99 < percent < 100 else f"{percent:.0f}%"


def seconds(value: float | None) -> str:
    """0.4 -> '0.4 s', 75 -> '1 min 15 s', 3700 -> '1 h 2 min'."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.1f} s"
    if value < 60:
        return f"{value:.0f} s"
    if value < 3600:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{int(value // 3600)} h {int(value % 3600 // 60)} min"


def size(value: float) -> str:
    """Bytes as people read them: 2048 -> '2.0 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def moment(value: datetime | None) -> str:
    """A time to the second, with its zone where it has one."""
    return value.strftime("%Y-%m-%d %H:%M:%S %Z").strip() if value else "–"


# What to do about a quarantined document, by reason code (`prox_spark.schemas.QUARANTINE_REASONS`).
ADVICE = {
    "malformed_record": "The record as it was is in `bytes`. Often a file cut off while it was copied.",
    "null_id": "Without an id its outcome could not be found again: give it one, or use --id-column text_hash.",
    "null_text": "There is nothing to refine: look at how the source was made.",
    "invalid_utf8": "Decode `bytes` with the right encoding, and run again.",
    "too_large": "Split the document, or raise --max-bytes.",
    "too_many_lines": "Split the document, or raise --max-lines.",
    "duplicate_id": "Make ids unique, or use --id-column text_hash.",
    "too_many_tokens": "Split the document, or prox-spark retry --reason too_many_tokens with a larger --max-tokens.",
    "too_slow": "Split the document, or prox-spark retry --reason too_slow with more --max-seconds.",
    "out_of_memory": "prox-spark retry --reason out_of_memory where workers have more memory.",
    "tokenizer_failed": "`detail` has the tokenizer's message. A new text or refiner is tried by itself, the same ones "
    "by prox-spark retry --reason tokenizer_failed.",
    "program_error": "`detail` has the refiner's message. A new text or refiner is tried by itself, the same ones (was "
    "it the machine's fault?) by prox-spark retry --reason program_error.",
}


def advice(reason: str | None) -> str:
    """A sentence for a reason code, or an empty one when the code speaks for itself."""
    meaning = QUARANTINE_REASONS.get(reason or "", "")
    sentences = (f"{meaning[:1].upper()}{meaning[1:]}." if meaning else "", ADVICE.get(reason or "", ""))
    return " ".join(sentence for sentence in sentences if sentence)
