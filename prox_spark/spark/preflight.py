"""The preflight: before a run writes programs for all, are those of a sample what the bundle promises?

Measured on the sample, by policy `strict`: the share of documents that a program changes or drops (operations), the
share of words that stay (kept words), the share of documents with a program that could not be read or applied (parse
errors). The bundle says between which bounds each should lie. A low rate of operations has two causes, which a built-in
noisy page tells apart: a refiner that leaves even that page alone is asked in the wrong way (template); one that cleans
it has found a clean source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from prox_spark.config import GrammarMode
from prox_spark.errors import ProxError
from prox_spark.refiner.device import processor
from prox_spark.spark.execute import ExecutePolicy, execute_joined
from prox_spark.spark.refiners import RefinerSet
from prox_spark.spark.worker import load_refiners, write_all
from prox_spark.text.language import need_identifier

# Below this many documents rates are noise, and nothing is judged.
MIN_DOCUMENTS = 20

NOISY_PAGE = """Skip to main content
Home
About us
Products
Contact
Login | Register
Search this site
Share on Facebook
Tweet
Pin it
The heron stands in the shallows for long minutes without moving, and only its eyes follow the small fish.
When one of them comes close enough, the neck shoots forward, and the bird swallows its catch head first.
Advertisement
In winter many herons move to rivers that do not freeze, where several may be seen along one kilometre of bank.
They keep their distance from each other, since every bird defends the stretch of water in which it fishes.
Read more »
You may also like:
10 garden tricks you will not believe
Click here to subscribe to our newsletter!
Enter your email address
Subscribe
Related posts
Leave a comment
You must be logged in to post a comment.
Terms of Service | Privacy Policy | Cookie Policy | Sitemap
Copyright © 2019 All rights reserved.
Follow us on Twitter
Back to top"""

PROBED = "provider STRING, device STRING, runtime STRING, processor STRING, changed BOOLEAN, error STRING"


@dataclass(frozen=True)
class Probe:
    """What one worker said when it loaded the refiners and read the noisy page.

    provider, device: of the first refiner's session. runtime: version of ONNX Runtime, None for scripts.
    processor: the worker's, and its instruction sets that matter.
    changed: whether the noisy page's program removes anything, or drops it.
    """

    provider: str
    device: str
    runtime: str | None
    processor: str
    changed: bool


@dataclass(frozen=True)
class ProbeUdf:
    """Loads the refiners in a worker and lets them read the noisy page; an error comes back as a value."""

    paths: tuple[str, ...]
    fingerprints: tuple[str, ...]
    device: str
    policy: ExecutePolicy
    languages: tuple[str, ...] = ()
    grammar: GrammarMode = "auto"

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield one row for each row that comes in."""
        for batch in batches:
            for _ in range(batch.num_rows):
                yield pa.RecordBatch.from_pylist([self._probe()], schema=_PROBED)

    def _probe(self) -> dict[str, object]:
        try:
            refiners = load_refiners(self.paths, self.fingerprints, self.device, grammar=self.grammar)
            if self.languages:
                need_identifier()
        except ProxError as error:
            return {"error": f"{type(error).__name__}\n{error}"}
        programs = next(write_all(refiners, [NOISY_PAGE]))
        refined = self.policy.apply(NOISY_PAGE, programs, None)
        first = refiners[0]
        return {
            "provider": first.provider,
            "device": first.device,
            "runtime": _runtime_version(),
            "processor": processor(),
            "changed": refined.status in ("refined", "dropped"),
        }


_PROBED = pa.schema(
    [
        pa.field("provider", pa.string()),
        pa.field("device", pa.string()),
        pa.field("runtime", pa.string()),
        pa.field("processor", pa.string()),
        pa.field("changed", pa.bool_()),
        pa.field("error", pa.string()),
    ]
)


@dataclass(frozen=True)
class Judgement:
    """What was measured and what is wrong with it; no `wrong` means that all is within the bundle's bounds.

    warnings: worth telling, and no reason to stop (a clean source).
    """

    documents: int
    operations_rate: float
    kept_words: float
    parse_errors: float
    wrong: tuple[str, ...]
    warnings: tuple[str, ...]

    def message(self, name: str) -> str:
        """Return the judgement as a person is told it."""
        measured = (
            f"of {self.documents} documents {self.operations_rate:.0%} are changed by their programs, "
            f"{self.kept_words:.0%} of the words stay, {self.parse_errors:.0%} have programs with errors"
        )
        if not self.wrong:
            return f"preflight of {name}: {measured}. {' '.join(self.warnings)}".strip()
        return (
            f"preflight of {name} failed: {measured}. {'; '.join(self.wrong)}. Look at this run's rows in `programs`; "
            "--preflight warn goes on nevertheless, --preflight off does not look"
        )


def probe(spark: SparkSession, refiners: RefinerSet, device: str) -> Probe:
    """Load the refiners in one worker; raises what that worker's `Refiner.load` raised."""
    policy = ExecutePolicy(dialect=refiners.dialect)
    udf = ProbeUdf(refiners.paths, refiners.fingerprints, device, policy, refiners.identified, refiners.grammar)
    row = spark.range(1, numPartitions=1).mapInArrow(udf, PROBED).first()
    assert row is not None
    if row.error is not None:
        kind, _, message = row.error.partition("\n")
        raise _error_class(kind)(message)
    return Probe(row.provider, row.device, row.runtime, row.processor, bool(row.changed))


def measure(joined: DataFrame, refiners: RefinerSet) -> Mapping[str, float]:
    """Return what a sample's programs do to it, executed with `strict` and thrown away; one row comes back."""
    policy = ExecutePolicy(dialect=refiners.dialect)
    row = (
        execute_joined(joined, policy, measuring=True)
        .agg(
            F.count(F.lit(1)).alias("documents"),
            F.sum(F.col("changed").cast("int")).alias("changed"),
            F.sum(F.col("failed").cast("int")).alias("failed"),
            F.sum("words_in").alias("words_in"),
            F.sum("words_out").alias("words_out"),
        )
        .first()
    )
    assert row is not None
    return {name: float(value or 0) for name, value in row.asDict().items()}


def judge(measured: Mapping[str, float], bounds: Mapping[str, float], cleans_noise: bool) -> Judgement:
    """Return the judgement of a sample; pure, so that every case can be tested without Spark.

    bounds: `min_operations_rate`, `max_operations_rate`, `min_kept_words`, `max_parse_errors`, and of the job
        `max_write_errors`; one that is missing does not bind.
    cleans_noise: whether the refiner removes anything from the noisy page.
    """
    documents = int(measured["documents"])
    operations = measured["changed"] / documents if documents else 0.0
    kept = measured["words_out"] / measured["words_in"] if measured["words_in"] else 1.0
    errors = measured["failed"] / documents if documents else 0.0
    wrong: list[str] = []
    warnings: list[str] = []
    if documents >= MIN_DOCUMENTS:
        low, high = bounds.get("min_operations_rate", 0.0), bounds.get("max_operations_rate", 1.0)
        if operations < low:
            if cleans_noise:
                warnings.append(
                    f"Fewer documents are changed than the bundle expects ({low:.0%}), but it does clean a noisy page: "
                    "the source seems to be clean."
                )
            else:
                wrong.append(
                    f"at least {low:.0%} should be changed, and even a page of menus and advertisements is left alone: "
                    "the refiner is asked in a wrong way (prompt template of another model?)"
                )
        if operations > high:
            wrong.append(f"at most {high:.0%} should be changed")
        if kept < bounds.get("min_kept_words", 0.0):
            wrong.append(f"at least {bounds['min_kept_words']:.0%} of the words should stay")
        if errors > bounds.get("max_parse_errors", 1.0):
            wrong.append(f"at most {bounds['max_parse_errors']:.0%} should have errors")
    tried, failed = int(measured.get("written", 0)), int(measured.get("write_errors", 0))
    if failed >= MIN_DOCUMENTS and failed > bounds.get("max_write_errors", 1.0) * tried:
        wrong.append(f"the refiner failed on {failed} of {tried} documents (`programs`, column error)")
    return Judgement(documents, operations, kept, errors, tuple(wrong), tuple(warnings))


def _error_class(name: str) -> type[ProxError]:
    from prox_spark import errors

    found = getattr(errors, name, ProxError)
    return found if isinstance(found, type) and issubclass(found, ProxError) else ProxError


def _runtime_version() -> str | None:
    import sys

    return getattr(sys.modules.get("onnxruntime"), "__version__", None)
