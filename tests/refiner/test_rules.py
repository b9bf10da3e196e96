from __future__ import annotations

import pytest

from prox_spark.errors import BundleError
from prox_spark.program.execute import Refined, execute
from prox_spark.refiner.refiner import Refiner
from prox_spark.refiner.rules_gopher import judge_gopher

PROSE = (
    "The river rises in the hills above the town and runs to the sea.",
    "Its water drove eleven mills, of which two still stand.",
    "Otters came back when the last of the dye works had closed.",
    "A bridge of stone was built after the flood of 1795.",
    "It carries the old road to this day!",
)
TEXT = "\n".join(PROSE)


def refine(rules: str, text: str, **options: str) -> Refined:
    refiner = Refiner.load(f"rules:{rules}")
    (programs,) = refiner.write([text])
    made = execute(text, programs, languages=refiner.languages, language=options.get("language"))
    assert made.errors == ()
    return made


@pytest.mark.parametrize(
    "line",
    [
        "Home",
        "A line of many words that ends in nothing",
        "It goes on and on and on...",
        "Two words.",
        "Please enable JavaScript in your browser to go on.",
        "By reading this you accept our cookie policy.",
        f"One word is {'x' * 1001} too long.",
    ],
)
def test_c4_removes_a_line(line: str) -> None:
    made = refine("c4", f"{line}\n{TEXT}\n{line}")
    assert (made.text, made.status) == (TEXT, "refined")


def test_c4_keeps_clean_paragraphs_and_the_blank_lines_between_them() -> None:
    paragraphs = "\n\n".join(PROSE)
    assert refine("c4", paragraphs).status == "unchanged"
    assert refine("c4", f"Menu\n\nLogin\n\n{paragraphs}\n\nAbout\n").text == paragraphs + "\n"


def test_c4_deletes_citation_marks_within_lines_that_stay() -> None:
    made = refine("c4", TEXT.replace("mills,", "mills[12][citation needed],").replace("sea.", "sea.[3]"))
    assert made.text == TEXT


@pytest.mark.parametrize("line", ["They say lorem ipsum dolor sit amet.", "Its code is f(x) { return x; } they say."])
def test_c4_drops_a_document(line: str) -> None:
    assert refine("c4", f"{TEXT}\n{line}").status == "dropped"
    assert refine("c4-lines", f"{TEXT}\n{line}").status == "unchanged"


def test_a_run_of_marks_is_read_once_and_ends_one_sentence() -> None:
    marks = " ".join(["." * 998 + "x"] * 2_000)
    # Two megabytes: a minute and more where each mark of a run is tried anew.
    assert refine("c4", f"{TEXT}\n{marks} the end of it.").status == "unchanged"
    assert refine("c4", "\n".join([*PROSE[:2], "So it went on and on?!?!.. until it was over."])).status == "dropped"


def test_c4_drops_documents_of_fewer_than_five_sentences() -> None:
    assert refine("c4", TEXT).status == "unchanged"
    assert refine("c4", "\n".join(PROSE[:4])).status == "dropped"
    assert refine("c4-lines", "\n".join(PROSE[:4])).status == "unchanged"


LONG = (
    TEXT
    + """
Boats with flat bottoms still carry timber and slate down to the harbour, although the railway took most of that trade.
Those who want to see an otter should be patient, come early, and stand where the reeds are high."""
)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Too few words to be kept.", "words"),
        ("", "words"),
        (LONG.replace(" ", " interminablenesses "), "mean_word_length"),
        ("\n".join(f"- {line}" for line in LONG.split("\n")), "bullet_lines"),
        (LONG.replace(".\n", "...\n"), "ellipsis_lines"),
        (LONG + " #" * 30, "symbols"),
        (LONG + "".join(f" {number}" for number in range(60)), "alphabetic_words"),
        (LONG.replace("th", "d").replace("Th", "D").replace("to", "ze").replace("of", "von").replace("and", "und")
         .replace("be", "bi"), "stop_words"),
        ("\n".join([LONG] * 3), "duplicate_lines"),
        (LONG + " read more about it" * 20, "top_2_gram"),
        (LONG + " one two three four five six seven eight nine ten eleven" * 6, "repeated_5_grams"),
    ],
)  # fmt: skip
def test_gopher_drops_a_document(text: str, rule: str) -> None:
    assert judge_gopher(text.split("\n")).drop == rule
    assert refine("gopher", text).status == "dropped"


def test_gopher_leaves_lines_alone() -> None:
    assert refine("gopher", f"Home\n{LONG}\nLogin").status == "unchanged"


def test_rules_are_for_english() -> None:
    assert refine("c4", "Startseite\n" + TEXT, language="de").reason == "language"


def test_long_documents_are_written_in_chunks() -> None:
    (programs,) = Refiner.load("rules:c4").write(["Home\n" * 120 + TEXT])
    assert [(c.first_line, c.last_line, c.program) for c in programs.chunks] == [
        (0, 49, "remove_lines(all=True)"),
        (50, 99, "remove_lines(all=True)"),
        (100, 124, "remove_lines(line_start=100, line_end=119)"),
    ]


def test_rules_are_described_without_loading_and_told_apart() -> None:
    assert Refiner.describe("rules:c4").fingerprint != Refiner.describe("rules:gopher").fingerprint
    with pytest.raises(BundleError, match="c4, c4-lines, gopher"):
        Refiner.load("rules:other")
