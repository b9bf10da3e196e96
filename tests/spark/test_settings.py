"""Settings, keys, schemas and judgements: what can be wrong with them, without Spark."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from pydantic import ValidationError

pytest.importorskip("pyspark")
from pyspark.errors import AnalysisException

from prox_spark.config import GrammarMode, GuardSettings, JobSettings, is_directory, job_settings
from prox_spark.errors import BundleError, ConfigError
from prox_spark.program.programs import ChunkProgram
from prox_spark.program.refined import Edit, Guards
from prox_spark.program.scores import Thresholds
from prox_spark.refiner import Refiner
from prox_spark.schemas import QUARANTINE_REASONS, SCHEMA_VERSION, STATUSES, TABLES, VIEWS, ddl
from prox_spark.spark import arrow
from prox_spark.spark.annotate_job import read_key
from prox_spark.spark.keys import make_policy_key, make_write_key, stream_key
from prox_spark.spark.ledger import SliceReport, read_reports, total
from prox_spark.spark.preflight import judge
from prox_spark.spark.refiners import RefinerSet, describe_refiners
from prox_spark.spark.session import delta_package
from prox_spark.spark.tables import Tables, view_sql
from tests.helpers.tiny_models import decode_bundle, score_bundle

ROOT = Path(__file__).resolve().parents[2]
OK = {"source": "s", "tables": "t"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"sorce": "x"}, "sorce: Extra inputs are not permitted"),
        ({"policy": "lax"}, "policy: Input should be 'strict' or 'gair'"),
        ({"refiners": ("a", "b", "c")}, "takes one refiner, or two"),
        ({"source_schema": "id INT"}, "a schema is declared for jsonl only"),
        ({"format": "parquet", "ignore_deletes": True}, "ignore_deletes is for the change data feed of a Delta source"),
        ({"policy": "gair", "guards": {"min_words": 3}}, "policy gair has no guards: min_words would do nothing"),
        ({"id_column": "text"}, "id column and text column are both 'text'"),
        ({"device": "tpu"}, "device: must be auto, cpu, cuda or cuda:N"),
        ({"guards": {"max_removed_ratio": 2}}, "guards.max_removed_ratio: Input should be less than or equal to 1"),
    ],
)
def test_wrong_settings_are_named_in_words(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        job_settings(**{**OK, **values})
    assert says in str(caught.value)


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "address",
    [
        f"s3a://KEY:{SECRET}@bucket/pages",
        f"s3a://KEY:{SECRET}/with/slashes@bucket/pages",
        f"https://user:{SECRET}@example.org/pages",
        f"abfss://container:{SECRET}@account.dfs.core.windows.net/pages",
        f"abfss://container@account.dfs.core.windows.net/pages?sv=2024&sig={SECRET}",
        f"wasbs://container@account.blob.core.windows.net/pages?SIG={SECRET}",
        f"https://bucket.s3.amazonaws.com/pages?X-Amz-Date=1&X-Amz-Signature={SECRET}",
        f"https://storage.googleapis.com/bucket/pages?X-Goog-Signature={SECRET}",
        f"https://bucket.s3.amazonaws.com/pages?AWSAccessKeyId=A&Signature={SECRET}",
        f"s3://bucket/pages?X-Amz-Security-Token={SECRET}",
        f"https://example.org/pages?token={SECRET}",
        f"https://example.org/pages?a=1&access_token={SECRET}",
        f"https://example.org/pages?api_key={SECRET}",
        f"s3a://AKIA:/{SECRET}@bucket/pages",
        f"s3a://AKIA:12/{SECRET}@bucket/pages",
        f"s3a://AKIA:pa#{SECRET}@bucket/pages",
        f"https://example.org/pages?password={SECRET}",
    ],
)
def test_addresses_with_secrets_are_refused_and_not_repeated(address: str) -> None:
    for name in ("source", "tables", "programs", "checkpoints", "refiners"):
        with pytest.raises(ConfigError, match=f"^{name}: .* kept in `runs`") as caught:
            job_settings(**OK | {name: (address,) if name == "refiners" else address})
        assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match=r"^tables: ") as caught:
        Tables(address)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "abfss://container@account.dfs.core.windows.net/pages",
        "wasbs://container@account.blob.core.windows.net/a:b/pages",
        "s3://bucket/pages",
        "s3a://bucket/crawl=2024-10/part-?.parquet",
        "s3a://bucket/a:b@c/pages",
        "s3://bucket/token=abc/sig=1/[ab]*?.parquet",
        "gs://bucket/pages",
        "hdfs://namenode:8020/pages@2024",
        "hdfs://user@namenode:8020/pages",
        "dbfs:/mnt/pages:a@b",
        "/Volumes/main/corpus/pages@v1:2",
        "file:///data/a:b@c",
        "C:\\data\\pages",
        "C:/data/user:x@y",
        "main.clean.pages",
        "delta/table@v12",
    ],
)
def test_addresses_without_secrets_pass(address: str) -> None:
    values = dict.fromkeys(("source", "tables", "programs", "checkpoints"), address)
    settings = job_settings(**values, refiners=(address,))
    assert (settings.source, settings.tables, Tables(address).location) == (address,) * 3


def test_settings_are_frozen_and_guards_are_those_of_the_language() -> None:
    settings = JobSettings(**OK)
    with pytest.raises(ValidationError):
        settings.mode = "tag"  # type: ignore[misc]
    assert Guards(**GuardSettings().model_dump()) == Guards()


@pytest.mark.parametrize(
    ("tables", "directory"), [("a/b", True), ("s3://b/x", True), ("dbfs:x", True), ("main.clean", False)]
)
def test_a_directory_holds_a_slash_or_a_colon(tables: str, directory: bool) -> None:
    assert is_directory(tables) is directory
    name = Tables(tables).name("refined")
    assert name.startswith("delta.`") if directory else name == "`main`.`clean`.`refined`"


def test_keys_change_with_what_they_stand_for_and_only_with_that() -> None:
    settings = job_settings(**OK)
    balanced = Thresholds(0.5, 0.9)
    key = make_policy_key(settings, balanced)
    same = job_settings(**{**OK, "source": "other", "device": "cpu", "batch_bytes": 5})
    assert make_policy_key(same, balanced) == key
    for other in ({"policy": "gair"}, {"caution": "cautious"}, {"mode": "tag"}, {"guards": {"min_words": 3}}):
        assert make_policy_key(job_settings(**OK, **other), balanced) != key
    assert make_policy_key(settings, Thresholds(0.5, 0.8)) != key
    assert make_policy_key(job_settings(**OK, language_column="lang"), balanced) != key
    assert make_write_key(("a", "b")) != make_write_key(("b", "a"))
    assert make_write_key(("a", "b"), dropped_from=0.9) != make_write_key(("a", "b"), dropped_from=0.99)
    assert len({make_write_key(("a",)), make_write_key(("a",), ("en",)), make_write_key(("a",), ("de",))}) == 3
    assert stream_key(settings, "write", "w", None) != stream_key(settings, "refine", "w", None)
    assert stream_key(settings, "write", "w", None) == stream_key(
        job_settings(**{**OK, "source": "s/"}), "write", "w", None
    )


def test_thresholds_of_the_first_of_two_count_in_the_write_key(tmp_path: Path) -> None:
    first, later = tmp_path / "first", tmp_path / "later"
    score_bundle(first)
    score_bundle(later, caution={"balanced": {"line": 0.5, "document": 1.0}})
    alone, pair = (
        {describe_refiners((str(p), *other)).write_key for p in (first, later)} for other in ((), (str(first),))
    )
    assert (len(alone), len(pair)) == (1, 2)


def test_the_grammar_counts_where_a_bundle_decodes_in_another_way_than_it_says(tmp_path: Path) -> None:
    plain, guided = tmp_path / "plain", tmp_path / "guided"
    decode_bundle(plain)
    decode_bundle(guided, grammar=True)
    fingerprints = {path: Refiner.describe(path).fingerprint for path in (plain, guided)}
    keys = {
        (path, mode): describe_refiners((str(path),), grammar=mode).write_key
        for path in (plain, guided)
        for mode in get_args(GrammarMode)
    }
    assert keys[plain, "auto"] == keys[plain, "off"] == make_write_key((fingerprints[plain],))
    assert keys[guided, "auto"] == keys[guided, "on"] == make_write_key((fingerprints[guided],))
    assert keys[plain, "on"] == make_write_key((fingerprints[plain],), grammar=(True,))
    assert keys[guided, "off"] == make_write_key((fingerprints[guided],), grammar=(False,))
    assert len(set(keys.values())) == 4
    for other in ("rules:c4", "scripted:scored"):
        assert len({describe_refiners((other,), grammar=mode).write_key for mode in get_args(GrammarMode)}) == 1


def test_tables_hold_what_the_language_has() -> None:
    assert [name for name, _ in arrow.CHUNK_FIELDS] == list(ChunkProgram.__dataclass_fields__)
    assert [name for name, _ in arrow.EDIT_FIELDS] == list(Edit.__dataclass_fields__)
    assert re.findall(r"(\w+): ", TABLES["programs"].columns[7].type) == list(ChunkProgram.__dataclass_fields__)
    for table in TABLES.values():
        assert set(table.key) <= set(table.names)
        assert all(column.comment for column in table.columns)
    assert "`doc_id` STRING NOT NULL COMMENT 'id of the document in the source'" in ddl("refined")
    assert "COMMENT" not in ddl("refined", comments=False)


def test_other_columns_are_another_version() -> None:
    """Whoever changes a table counts SCHEMA_VERSION up, once a release, and tells docs and migration test."""
    columns = [(t.name, c.name, c.type, c.nullable) for t in TABLES.values() for c in t.columns]
    found = hashlib.sha256(json.dumps(columns).encode()).hexdigest()
    assert {SCHEMA_VERSION: found[:16]} == {2: "a15ed303b0168c92"}
    assert f"\n| {SCHEMA_VERSION} | " in (ROOT / "docs" / "upkeep.md").read_text(encoding="utf-8")


def test_docs_tell_every_table_column_status_and_reason() -> None:
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    for table in TABLES.values():
        section = text.split(f"## `{table.name}`")[1].split("\n## ")[0]
        for column in table.columns:
            kind = re.sub(r"<.*", "", column.type)
            assert re.search(
                rf"^\| `{column.name}` \| {kind}\b.*\| {re.escape(column.comment)}", section, flags=re.M
            ), column
    for name, meaning in {**STATUSES, **QUARANTINE_REASONS}.items():
        assert f"| `{name}` | {meaning} |" in text
    for view in VIEWS.values():
        assert f"`{view.name}`" in text


def test_views_name_the_tables() -> None:
    queries = view_sql(Tables("main.clean"))
    assert "FROM `main`.`clean`.`refined`" in queries["corpus"]


def test_reports_add_up_and_travel_as_json() -> None:
    one = SliceReport(0, {"rows": 3}, bytes=5, provider="P").add(counts={"rows": 2, "done": 1}, bytes=7)
    assert one.counts == {"rows": 5, "done": 1} and one.bytes == 12
    assert SliceReport.from_json(one.to_json()) == one
    whole = total([one, SliceReport(1, {"rows": 1}, failure=("PreflightError", "no"))])
    assert whole.counts == {"rows": 6, "done": 1, "slices": 2}
    assert whole.provider == "P" and whole.failure == ("PreflightError", "no")


def measured(documents: int, changed: int, kept: float = 0.9, failed: int = 0) -> dict[str, float]:
    return {"documents": documents, "changed": changed, "failed": failed, "words_in": 1000, "words_out": 1000 * kept}


BOUNDS = {"min_operations_rate": 0.2, "max_operations_rate": 0.95, "min_kept_words": 0.3, "max_parse_errors": 0.05}


@pytest.mark.parametrize(
    ("sample", "cleans_noise", "wrong", "warning"),
    [
        (measured(200, 100), True, None, None),
        (measured(200, 2), True, None, "the source seems to be clean"),
        (measured(200, 2), False, "prompt template of another model", None),
        (measured(200, 199), True, "at most 95% should be changed", None),
        (measured(200, 100, kept=0.1), True, "at least 30% of the words should stay", None),
        (measured(200, 100, failed=50), True, "at most 5% should have errors", None),
        (measured(5, 0), False, None, None),
        (measured(0, 0), False, None, None),
    ],
)
def test_judgements(sample: dict[str, float], cleans_noise: bool, wrong: str | None, warning: str | None) -> None:
    found = judge(sample, BOUNDS, cleans_noise)
    assert bool(found.wrong) == (wrong is not None) and bool(found.warnings) == (warning is not None)
    message = found.message("x 1")
    assert (wrong or "") in message and (warning or "") in message
    assert not judge(sample, {}, cleans_noise=True).wrong
    none = {**dict.fromkeys(sample, 0.0), "written": 200.0, "write_errors": 20.0}
    assert judge(none, {"max_write_errors": 0.05}, cleans_noise=True).wrong == (
        "the refiner failed on 20 of 200 documents (`programs`, column error)",
    )
    assert not judge(none, {"max_write_errors": 0.1}, cleans_noise=True).wrong


def test_two_refiners_are_one_name_and_travel_through_runs() -> None:
    both = describe_refiners(("scripted:noise", "scripted:scored"))
    assert both.name == "scripted:noise 1 + scripted:scored 1"
    assert both.thresholds_for("balanced") == Thresholds(0.5, 0.5)
    again = RefinerSet.from_dict(both.to_dict())
    assert (again.write_key, again.thresholds, again.dialect) == (both.write_key, both.thresholds, both.dialect)
    assert describe_refiners(("scripted:noise",)).thresholds_for("cautious") is None
    with pytest.raises(ConfigError, match="no caution 'brave'"):
        both.thresholds_for("brave")
    with pytest.raises(ConfigError, match="no refiner"):
        describe_refiners(())
    with pytest.raises(BundleError):
        describe_refiners(("scripted:nothing",))


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        ((), (), ()),
        (("en",), (), ("en",)),
        (("en", "de"), ("de", "en"), ("de", "en")),
        (("en-GB",), ("en-GB",), ("en-GB",)),
        (("en", "de"), ("en-US",), ("en",)),
    ],
)
def test_two_refiners_read_the_languages_that_both_were_made_for(
    tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...], common: tuple[str, ...]
) -> None:
    decode_bundle(tmp_path / "document", level="document", languages=first)
    decode_bundle(tmp_path / "chunk", languages=second)
    found = describe_refiners((str(tmp_path / "document"), str(tmp_path / "chunk")))
    assert found.languages == found.identified == common


def test_two_refiners_for_different_languages_do_not_fit(tmp_path: Path) -> None:
    """No common language must not come to mean any language."""
    decode_bundle(tmp_path / "document", level="document", languages=["en"])
    decode_bundle(tmp_path / "chunk", languages=["de"])
    with pytest.raises(ConfigError, match=r"different languages: tiny-decode \(en\) and tiny-decode \(de\)"):
        describe_refiners((str(tmp_path / "document"), str(tmp_path / "chunk")))


def test_delta_fits_the_spark_that_is_installed() -> None:
    assert delta_package("4.1.4") == "io.delta:delta-spark_4.1_2.13:4.4.0"
    assert delta_package("3.5.8") == "io.delta:delta-spark_2.12:3.3.2"
    with pytest.raises(ConfigError, match=r"Spark 3\.4\.1 is not supported"):
        delta_package("3.4.1")


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk one", "sk-\x0bone", "sk-\u201cone\u201d"])
def test_a_key_that_no_request_can_carry_is_refused_without_showing_it(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERT_KEY", key)
    settings: Any = SimpleNamespace(api_key_env="EXPERT_KEY", api_key_secret=None)
    with pytest.raises(ConfigError, match="the key in EXPERT_KEY has a blank, a line break") as raised:
        read_key(settings, None)  # type: ignore[arg-type]
    assert "sk" not in str(raised.value)


def test_a_directory_of_reports_may_be_found_missing_late() -> None:
    """Spark Connect looks for it when rows are fetched, not when they are asked for."""

    class Late:
        def option(self, *_: str) -> Late:
            return self

        text = option

        def toLocalIterator(self) -> Iterator[Any]:
            raise AnalysisException("PATH_NOT_FOUND")
            yield

    assert read_reports(SimpleNamespace(read=Late()), "nowhere") == []  # type: ignore[arg-type]


def test_max_batches_does_not_go_with_reconcile() -> None:
    with pytest.raises(ConfigError, match="no max_batches goes with it"):
        job_settings(**OK, reconcile=True, max_batches=2)
