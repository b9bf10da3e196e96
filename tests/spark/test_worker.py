"""What stands between Spark and a refiner, without Spark: Arrow batches in, Arrow batches out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

pytest.importorskip("pyspark")
import pyarrow as pa

from prox_spark.config import GrammarMode
from prox_spark.errors import BundleError, ConfigError, DeviceError, EngineError
from prox_spark.program.operations import ProgramError
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.refined import Edit
from prox_spark.program.scores import Thresholds
from prox_spark.refiner import Refiner, RefinerInfo
from prox_spark.refiner.budget import Budget, code_of
from prox_spark.refiner.scripted import ScriptedRefiner
from prox_spark.spark import arrow, execute, worker, write
from prox_spark.spark.execute import ExecutePolicy, ExecuteUdf, MeasureUdf
from prox_spark.spark.preflight import NOISY_PAGE, ProbeUdf
from prox_spark.spark.work import rows_a_batch
from prox_spark.spark.write import WriteUdf, grammar_of, refiner_paths
from tests.helpers.tiny_models import decode_bundle

NOISE = ScriptedRefiner("scripted:noise")


@dataclass
class Hungry(Refiner):
    """Reads ahead by ten texts, and raises at every text that holds `boom`."""

    info: RefinerInfo = field(default_factory=lambda: NOISE.info)
    provider: str = "none"
    device: str = "cpu"
    fatal: bool = False

    def write(self, texts: Iterable[str]) -> Iterator[DocumentPrograms]:
        waiting: list[str] = []
        for text in texts:
            waiting.append(text)
            if len(waiting) == 10:
                yield from self._all(waiting)
                waiting = []
        yield from self._all(waiting)

    def _all(self, texts: list[str]) -> Iterator[DocumentPrograms]:
        if any("boom" in text for text in texts):
            raise DeviceError("gone") if self.fatal else RuntimeError("boom")
        for text in texts:
            yield DocumentPrograms(f"keep_doc() # {text}", ())


def test_texts_that_make_a_refiner_raise_get_error_rows_and_all_others_their_programs() -> None:
    texts = [f"t{n}" + (" boom" if n in (3, 4, 27, 39) else "") for n in range(40)]
    found = list(worker.write_safely(Hungry(), texts))
    assert len(found) == 40
    for text, programs in zip(texts, found, strict=True):
        if "boom" in text:
            assert programs.error == "RuntimeError: boom"
        else:
            assert programs.doc_program == f"keep_doc() # {text}"


def test_a_lost_device_is_no_texts_fault() -> None:
    with pytest.raises(DeviceError):
        list(worker.write_safely(Hungry(fatal=True), ["a", "boom"]))


def test_a_refiner_that_ends_too_early_owes_error_rows() -> None:
    class Lazy(Hungry):
        def write(self, texts: Iterable[str]) -> Iterator[DocumentPrograms]:
            next(iter(texts), None)
            return iter(())

    found = list(worker.write_safely(Lazy(), ["a", "b", "c"]))
    assert [programs.error for programs in found] == ["the refiner wrote nothing for this document"] * 3


def test_two_refiners_ask_the_second_only_for_what_is_kept() -> None:
    asked: list[str] = []

    class Second(Hungry):
        def write(self, texts: Iterable[str]) -> Iterator[DocumentPrograms]:
            for text in texts:
                asked.append(text)
                yield DocumentPrograms(None, (ChunkProgram(0, 0, 0, "keep_chunk()", prompt_tokens=3),))

    texts = ["one line", "##DROP## two", "three", "##CRASH##"]
    found = list(worker.write_all([NOISE, Second()], texts))
    assert asked == ["one line", "three"]
    assert [programs.doc_program for programs in found] == ["keep_doc()", "drop_doc()", "keep_doc()", None]
    assert found[0].chunks[0].program == "keep_chunk()"
    assert found[0].prompt_tokens == 3 + 2
    assert "##CRASH##" in str(found[3].error)


def test_a_scored_document_is_passed_over_only_if_no_caution_could_keep_it() -> None:
    refiner = Hungry(info=replace(NOISE.info, thresholds={"a": Thresholds(0.5, 0.5), "b": Thresholds(0.5, 0.9)}))
    assert not worker._dropped(refiner, DocumentPrograms("drop_doc()", (), doc_score=0.8))
    assert worker._dropped(refiner, DocumentPrograms("drop_doc()", (), doc_score=0.95))


@pytest.mark.parametrize(
    ("device", "addresses", "expected"),
    [
        ("auto", ["3"], ("cuda", 3, 1)),
        ("cuda", ["1"], ("cuda", 1, 1)),
        ("auto", None, ("cpu", None, 1)),
        ("cpu", ["0"], ("cpu", None, 1)),
        ("cuda:1", None, ("cuda:1", None, 1)),
    ],
)
def test_the_gpu_is_the_one_that_spark_gave(
    monkeypatch: pytest.MonkeyPatch, device: str, addresses: list[str] | None, expected: tuple[Any, ...]
) -> None:
    resources = {"gpu": SimpleNamespace(addresses=addresses)} if addresses else {}
    context = SimpleNamespace(resources=lambda: resources, cpus=lambda: 1)
    monkeypatch.setattr(worker, "TaskContext", SimpleNamespace(get=lambda: context))
    assert worker.task_device(device) == expected


def test_cuda_without_an_address_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "TaskContext", SimpleNamespace(get=lambda: None))
    with pytest.raises(DeviceError, match=r"spark.task.resource.gpu.amount.*--device cuda:0"):
        worker.task_device("cuda")


def test_a_refiner_is_loaded_once_a_process_and_its_fingerprint_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_LOADED", {})
    first = worker.load_refiners(("scripted:noise",), (NOISE.fingerprint,), "cpu")
    assert worker.load_refiners(("scripted:noise",), (NOISE.fingerprint,), "cpu")[0] is first[0]
    with pytest.raises(BundleError, match="another bundle than on the driver"):
        worker.load_refiners(("scripted:noise",), ("0" * 64,), "cpu")


def test_a_budget_is_the_runs_own_although_refiners_stay_loaded() -> None:
    batch = batch_of("one two three", "one two")
    for budget, errors in ((Budget(tokens=2), ["too_many_tokens", None]), (Budget(), [None, None])):
        (out,) = WriteUdf(("scripted:noise",), (NOISE.fingerprint,), "cpu", budget=budget)(iter([batch]))
        assert [error and code_of(error) for error in out.column("error").to_pylist()] == errors


def test_the_grammar_reaches_the_refiner(tmp_path: Path) -> None:
    bundle = decode_bundle(tmp_path / "d", level="document", end_tokens=[2])
    batch = batch_of("one two three")
    found = {}
    for mode in get_args(GrammarMode):
        (out,) = WriteUdf((str(tmp_path / "d"),), (bundle.info.fingerprint,), "cpu", grammar=mode)(iter([batch]))
        found[mode] = out.column("doc_program")[0].as_py()
    assert found["on"] in ("keep_doc()", "drop_doc()") and found["auto"] == found["off"] != found["on"]
    assert grammar_of(Refiner.load(tmp_path / "d", "cpu", grammar="on"), "auto") == "on"
    assert grammar_of(str(tmp_path / "d"), "auto") == "auto"


def test_a_panic_below_python_is_one_texts_error_and_an_exit_is_an_exit() -> None:
    class PanicException(BaseException):  # as pyo3 derives it
        pass

    class Panicking(Hungry):
        def _all(self, texts: list[str]) -> Iterator[DocumentPrograms]:
            if any("boom" in text for text in texts):
                raise SystemExit if self.fatal else PanicException("boom")
            return super()._all(texts)

    found = list(worker.write_safely(Panicking(), ["a", "boom", "b"]))
    assert [programs.error for programs in found] == [None, "PanicException: boom", None]
    with pytest.raises(SystemExit):
        list(worker.write_safely(Panicking(fatal=True), ["a", "boom"]))


def unreadable() -> Iterator[str]:
    yield from ("a", "b")
    raise OSError("the connection is gone")


@pytest.mark.parametrize("refiners", [[Hungry()], [NOISE, Hungry()]], ids=["one", "two"])
def test_what_reading_texts_raises_is_no_texts_fault_and_no_end(refiners: list[Refiner]) -> None:
    with pytest.raises(OSError, match="the connection is gone"):
        list(worker.write_all(refiners, unreadable()))
    with pytest.raises(OSError, match="the connection is gone"):
        list(worker.write_known(refiners, unreadable(), ("en",)))


def test_refiners_that_are_no_longer_asked_for_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_LOADED", {})
    other = ScriptedRefiner("scripted:short-lines")
    worker.load_refiners(("scripted:noise", other.name), (NOISE.fingerprint, other.fingerprint), "cpu")
    assert len(worker._LOADED) == 2
    worker.load_refiners((other.name,), (other.fingerprint,), "cpu")
    assert [key[0] for key in worker._LOADED] == [other.fingerprint]


def test_a_program_with_an_error_keeps_no_document_from_the_second_refiner() -> None:
    class Broken(Hungry):
        def _all(self, texts: list[str]) -> Iterator[DocumentPrograms]:
            for text in texts:
                yield DocumentPrograms(text, ())

    found = list(worker.write_all([Broken(), NOISE], ["drop_doc(", "drop_doc()"]))
    assert [bool(programs.chunks) for programs in found] == [True, False]


def batch_of(*texts: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {"doc_id": [f"d{n}" for n in range(len(texts))], "text_hash": ["h"] * len(texts), "text": list(texts)}
    )


@pytest.mark.parametrize("passing", [False, True])
def test_write_keeps_keys_beside_their_programs(passing: bool) -> None:
    udf = WriteUdf(("scripted:noise",), (NOISE.fingerprint,), "cpu", passing)
    texts = [f"a longer line of {n}\nHome\n{'##CRASH##' if n % 7 == 3 else ''}" for n in range(1300)]
    batches = [batch_of(*texts[:700]), batch_of(*texts[700:])]
    out = list(udf(iter(batches)))
    rows = [row for batch in out for row in batch.to_pylist()]
    assert [row["doc_id"] for row in rows] == [f"d{n}" for n in [*range(700), *range(600)]]
    assert all(batch.num_rows <= arrow.BATCH_ROWS for batch in out)
    for n, row in enumerate(rows):
        assert (row["error"] is not None) == (n % 7 == 3)
        assert row.get("text") == (texts[n] if passing else None)
    assert rows[0]["chunks"][0]["program"] == "remove_lines(line_start=1, line_end=1)"


def test_columns_may_be_large() -> None:
    """As a session sends them that sets spark.sql.execution.arrow.useLargeVarTypes."""
    batch = batch_of("a longer line\nHome", "b")
    large = pa.RecordBatch.from_arrays([column.cast(pa.large_string()) for column in batch.columns], batch.schema.names)
    udf = WriteUdf(("scripted:noise",), (NOISE.fingerprint,), "cpu", passing=True)
    assert [out.to_pylist() for out in udf(iter([large]))] == [out.to_pylist() for out in udf(iter([batch]))]


def test_a_row_too_few_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are put beside ids by their order: one that is missing would put all others beside the wrong ones."""
    monkeypatch.setattr(write, "write_known", lambda refiners, texts, languages: NOISE.write([*texts][1:]))
    with pytest.raises(EngineError, match="nothing for 1 documents"):
        list(WriteUdf(("scripted:noise",), (NOISE.fingerprint,), "cpu")(iter([batch_of("a", "b", "c")])))


def test_refiners_may_be_paths_and_refiners_of_this_process(tmp_path: Path) -> None:
    decode_bundle(tmp_path / "d", end_tokens=[2])
    loaded, other = (Refiner.load(tmp_path / "d", "cpu", grammar=mode) for mode in ("on", "off"))
    assert refiner_paths(tmp_path / "d") == refiner_paths(loaded) == (str(tmp_path / "d"),)
    assert refiner_paths([NOISE, loaded]) == ("scripted:noise", str(tmp_path / "d"))
    assert grammar_of([loaded, "other"], "auto") == "on" and grammar_of([loaded, other], "off") == "off"
    with pytest.raises(ConfigError, match="another grammar"):
        grammar_of([loaded, other], "auto")


GERMAN = "Der Reiher steht minutenlang regungslos im flachen Wasser, und nur seine Augen folgen den Fischen. "
ENGLISH = "The heron stands in the shallows for long minutes without moving, and only its eyes follow the fish. "


@pytest.mark.parametrize("many", [1, 1300])
def test_texts_in_other_languages_reach_no_refiner_and_keep_their_place(many: int) -> None:
    some = [*[GERMAN] * many, ENGLISH, "Home", *[GERMAN] * many, ENGLISH + "boom", GERMAN]
    given = [f"{text}{n}" for n, text in enumerate(some)]
    found = list(worker.write_known([Hungry()], iter(given), ("en-GB",)))
    assert len(found) == len(given)
    for text, programs in zip(given, found, strict=True):
        if text.startswith("Der"):
            assert programs.passed_over and programs.language == "de"
        elif "boom" in text:
            assert programs.error and not programs.passed_over
        else:
            assert programs.doc_program == f"keep_doc() # {text}"
            assert programs.language == ("en" if text.startswith("The") else None)
    assert [p.language for p in worker.write_known([Hungry()], [GERMAN], ())] == [None]


def test_an_empty_partition_loads_no_model() -> None:
    assert list(WriteUdf(("no such bundle",), ("0",), "cpu")(iter([]))) == []
    assert list(WriteUdf(("no such bundle",), ("0",), "cpu")(iter([batch_of()]))) == []


def joined(*rows: tuple[str, str | None, list[ChunkProgram], str | None]) -> pa.RecordBatch:
    """Arrow batch as EXECUTE gets it: text, doc_program, chunks, error."""
    return pa.RecordBatch.from_pydict(
        {
            "doc_id": [str(n) for n in range(len(rows))],
            "text_hash": ["h"] * len(rows),
            "text": [row[0] for row in rows],
            "doc_program": pa.array([row[1] for row in rows], pa.string()),
            "doc_score": pa.array([None] * len(rows), pa.float32()),
            "chunks": arrow.structs([row[2] for row in rows], arrow.CHUNK_FIELDS),
            "error": pa.array([row[3] for row in rows], pa.string()),
            "language": pa.array([None] * len(rows), pa.string()),
            "written_language": pa.array([None] * len(rows), pa.string()),
        }
    )


TEXT = "one good line with many words to keep here\nHome\nand another good line with words"
REMOVE = ChunkProgram(0, 0, 2, "remove_lines(line_start=1, line_end=1)")


def test_execute_gives_texts_edits_and_counts() -> None:
    batch = joined((TEXT, "keep_doc()", [REMOVE], None), (TEXT, "drop_doc()", [], None), (TEXT, None, [], "failed"))
    (out,) = ExecuteUdf(ExecutePolicy())(iter([batch]))
    rows = out.to_pylist()
    assert [row["status"] for row in rows] == ["refined", "dropped", "quarantined"]
    assert rows[0]["text"] == TEXT.replace("\nHome", "") and rows[1]["text"] is None
    assert rows[0]["edits"][0]["removed"] == "Home" and rows[0]["edits"][0]["start"] is None
    assert (rows[0]["lines_in"], rows[0]["lines_out"], rows[0]["chars_in"]) == (3, 2, len(TEXT))
    (measured,) = MeasureUdf(ExecutePolicy())(iter([batch]))
    assert [row["changed"] for row in measured.to_pylist()] == [True, True, False]


def test_whatever_goes_wrong_in_execute_leaves_the_text_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(execute, "execute", fails)
    (out,) = ExecuteUdf(ExecutePolicy())(iter([joined((TEXT, "keep_doc()", [REMOVE], None))]))
    row = out.to_pylist()[0]
    assert (row["status"], row["reason"], row["text"]) == ("fallback", "execute_failed: RuntimeError", TEXT)
    assert row["lines_out"] == 3 and row["chars_out"] == len(TEXT)


def test_arrow_takes_whatever_programs_hold() -> None:
    assert arrow.column(["a\ud800b", None], pa.string()).to_pylist() == ["a?b", None]
    assert arrow.column([10**12, None, -5], pa.int32()).to_pylist() == [2**31 - 1, None, -5]
    edit = Edit("remove_lines", None, 0, 10**11, None, None, "\udfff", "", None)
    rows = arrow.structs([[edit], None, []], arrow.EDIT_FIELDS).to_pylist()
    assert rows[0][0]["last_line"] == 2**31 - 1 and rows[0][0]["removed"] == "?"
    assert rows[1:] == [None, []]
    assert ProgramError  # programs with errors are values too


@pytest.mark.parametrize(
    "sizes",
    [
        [10] * 3,
        [10] * (2 * arrow.BATCH_ROWS + 3),
        [100_000] * 60,
        # On an average these are small: where the large ones stand together, the bound must hold as well.
        [10] * 400 + [arrow.BATCH_CHARS // 2] * 6 + [10] * 400,
        [10] * 50 + [3 * arrow.BATCH_CHARS] + [10] * 50,
    ],
)
def test_batches_are_cut_by_bytes_and_rows(sizes: list[int]) -> None:
    chunks = [[ChunkProgram(0, 0, 0, "x" * size, line_scores=(0.5,) * 9)] for size in sizes]
    for batch in (batch_of(*("x" * size for size in sizes)), joined(*[("", None, one, None) for one in chunks])):
        pieces = list(arrow.bounded(batch))
        assert pa.Table.from_batches(pieces).equals(pa.Table.from_batches([batch]))
        assert all(piece.num_rows <= arrow.BATCH_ROWS for piece in pieces)
        assert all(piece.nbytes <= arrow.BATCH_CHARS or piece.num_rows == 1 for piece in pieces)
        assert len(pieces) <= 2 * (1 + batch.nbytes // arrow.BATCH_CHARS) + len(sizes) // arrow.BATCH_ROWS + 16
    assert list(arrow.bounded(batch_of())) == []


@pytest.mark.parametrize(("largest", "rows"), [(0, 256), (1_000, 256), (1 << 20, 16), (1 << 24, 1), (1 << 30, 1)])
def test_batches_to_python_are_bounded_by_rows_where_spark_counts_only_those(largest: int, rows: int) -> None:
    assert rows_a_batch(largest) == rows


def test_the_probe_reads_the_noisy_page_and_returns_errors_as_values() -> None:
    one = pa.RecordBatch.from_pydict({"id": [0]})
    policy = ExecutePolicy()
    (found,) = ProbeUdf(("scripted:short-lines",), (ScriptedRefiner("short-lines").fingerprint,), "cpu", policy)(
        iter([one])
    )
    assert found.to_pylist()[0]["changed"] is True and "Advertisement" in NOISY_PAGE
    (failed,) = ProbeUdf(("scripted:nothing",), ("0",), "cpu", policy)(iter([one]))
    assert failed.to_pylist()[0]["error"].startswith("BundleError\n")


def test_a_text_that_the_identifier_fails_on_is_one_texts_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(text: str) -> str | None:
        if "2" in text:
            raise MemoryError
        return "de" if "3" in text else "en"

    monkeypatch.setattr(worker, "identify", failing)
    texts = [f"t{n}" for n in range(6)]
    found = list(worker.write_known([Hungry()], texts, ("en",)))
    assert [programs.doc_program for programs in found] == [
        None if n in (2, 3) else f"keep_doc() # t{n}" for n in range(6)
    ]
    assert found[2].error == "out_of_memory: MemoryError: " and found[3].passed_over
