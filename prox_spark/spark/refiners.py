"""What a job knows of its refiners without loading a model: from their bundles, or from `runs`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from prox_spark.config import GrammarMode, JobSettings
from prox_spark.errors import ConfigError
from prox_spark.program.languages import primary_language
from prox_spark.program.scores import Thresholds, dropped_from
from prox_spark.refiner import Refiner, RefinerInfo
from prox_spark.spark.keys import make_write_key
from prox_spark.spark.ledger import NOT_ENDED
from prox_spark.spark.tables import Tables

JOINT = " + "


@dataclass(frozen=True)
class RefinerSet:
    """One refiner, or a document refiner and a chunk refiner, as a job sees them.

    paths: what `Refiner.load` is given on the workers; empty where no model is needed (`execute`).
    name: name and version of each, joined by ` + `; fingerprint likewise.
    dialect, languages: of the programs. thresholds: by caution, empty where nothing scores. preflight: bounds.
    grammar: what `Refiner.load` is told of it on the workers.
    """

    paths: tuple[str, ...]
    name: str
    fingerprints: tuple[str, ...]
    write_key: str
    dialect: str
    languages: tuple[str, ...] = ()
    thresholds: Mapping[str, Thresholds] = field(default_factory=dict)
    preflight: Mapping[str, float] = field(default_factory=dict)
    identified: tuple[str, ...] = ()
    grammar: GrammarMode = "auto"

    @property
    def fingerprint(self) -> str:
        """The fingerprints, joined."""
        return JOINT.join(self.fingerprints)

    def thresholds_for(self, caution: str) -> Thresholds | None:
        """Return the thresholds of a caution; None where nothing scores, so that a caution changes nothing."""
        if not self.thresholds:
            return None
        if caution not in self.thresholds:
            raise ConfigError(
                f"refiner {self.name} has no caution {caution!r}; it has: {', '.join(sorted(self.thresholds))}"
            )
        return self.thresholds[caution]

    def to_dict(self) -> dict[str, Any]:
        """Return what `runs.settings` keeps, so that `execute` needs no bundle."""
        return {
            "name": self.name,
            "fingerprints": list(self.fingerprints),
            "write_key": self.write_key,
            "dialect": self.dialect,
            "languages": list(self.languages),
            "thresholds": {name: [t.line, t.document] for name, t in self.thresholds.items()},
            "preflight": dict(self.preflight),
            "identified": list(self.identified),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> RefinerSet:
        """Return the refiners of an earlier run; without paths."""
        return cls(
            paths=(),
            name=value["name"],
            fingerprints=tuple(value["fingerprints"]),
            write_key=value["write_key"],
            dialect=value["dialect"],
            languages=tuple(value["languages"]),
            thresholds={name: Thresholds(line=t[0], document=t[1]) for name, t in value["thresholds"].items()},
            preflight=value["preflight"],
            identified=tuple(value.get("identified", ())),
        )


def describe_refiners(paths: tuple[str, ...], identify: bool = True, grammar: GrammarMode = "auto") -> RefinerSet:
    """Return what the refiners are, from their files; raises BundleError, and ConfigError where two do not fit.

    identify: whether WRITE is to pass over documents in languages that the refiners were not made for.
    grammar: as in `Refiner.load`.
    """
    if not paths:
        raise ConfigError("no refiner; name one with --refiner (web-lite, or a bundle's directory)")
    infos = [Refiner.describe(path) for path in paths]
    if len(infos) == 2:
        _need_pair(infos[0], infos[1])
    last = infos[-1]
    common = _common_languages(infos)
    identified = common if identify else ()
    fingerprints = tuple(info.fingerprint for info in infos)
    by_grammar = tuple(info.decodes_by_grammar(grammar) for info in infos)
    as_bundles_say = by_grammar == tuple(info.decodes_by_grammar("auto") for info in infos)
    # Other thresholds of the first refiner of two: other documents reach the second.
    highest = dropped_from(infos[0].thresholds.values()) if len(infos) == 2 else None
    return RefinerSet(
        paths=tuple(str(path) for path in paths),
        name=JOINT.join(f"{info.name} {info.version}" for info in infos),
        fingerprints=fingerprints,
        write_key=make_write_key(fingerprints, identified, () if as_bundles_say else by_grammar, highest),
        dialect=last.dialect,
        languages=common,
        thresholds=_thresholds(infos),
        preflight=dict(last.preflight),
        identified=identified,
        grammar=grammar,
    )


def _common_languages(infos: Sequence[RefinerInfo]) -> tuple[str, ...]:
    """Return the languages that all refiners were made for, `en-GB` as `en` where they differ; empty: any."""
    said = [info.languages for info in infos if info.languages]
    if len({frozenset(languages) for languages in said}) <= 1:
        return tuple(sorted(said[0])) if said else ()
    common = set.intersection(*({primary_language(language) for language in languages} for languages in said))
    if not common:
        both = " and ".join(f"{info.name} ({', '.join(info.languages)})" for info in infos)
        raise ConfigError(f"the two refiners were made for different languages: {both}")
    return tuple(sorted(common))


def find_refiners(spark: SparkSession, settings: JobSettings, tables: Tables) -> RefinerSet:
    """Return the refiners whose programs `execute` is to take: of the bundle if one is named, else of `runs`."""
    if settings.refiners:
        return describe_refiners(settings.refiners, settings.identifies, settings.grammar)
    if not tables.exists(spark, "runs"):
        raise ConfigError(f"no programs in {tables.location}: write them first, or say with --programs where they are")
    runs = tables.read(spark, "runs").where("command IN ('write', 'refine', 'retry') AND write_key IS NOT NULL")
    if settings.write_key:
        rows = _by_key(runs.where(F.col("write_key").startswith(settings.write_key)))
    else:
        # A retry with another bundle, and a write that has not ended, leave what executes every night as it is.
        ended = ~F.col("error").eqNullSafe(NOT_ENDED)
        rows = _by_key(runs.where(F.col("command").isin("write", "refine") & ended)) or _by_key(runs)
    if not rows and settings.write_key and (others := _by_key(runs)):
        raise ConfigError(
            f"no programs in {tables.location} have a write key that begins with {settings.write_key}; there are: "
            f"{_listing(others)}"
        )
    if not rows:
        raise ConfigError(f"no programs in {tables.location}: write them first, or say with --programs where they are")
    if len(rows) > 1:
        raise ConfigError(
            f"programs of several refiners are in {tables.location}; choose one with --write-key: {_listing(rows)}"
        )
    return RefinerSet.from_dict(json.loads(rows[0].settings)["refiner"])


def _by_key(runs: DataFrame) -> list[Row]:
    """Return the first ten write keys of runs, each with its refiner and its newest run's settings."""
    newest = runs.groupBy("write_key").agg(
        F.max_by("settings", "started_at").alias("settings"), F.max("refiner").alias("refiner")
    )
    rows: list[Row] = newest.orderBy("write_key").take(10)
    return rows


def _listing(rows: list[Row]) -> str:
    return "; ".join(f"{row.write_key[:12]} ({row.refiner})" for row in rows)


def _need_pair(first: RefinerInfo, second: RefinerInfo) -> None:
    if first.level not in ("document", "both") or second.level not in ("chunk", "both"):
        raise ConfigError(
            "two refiners are a document bundle, then a chunk bundle; "
            f"these are of level {first.level} and {second.level}"
        )
    if first.dialect != second.dialect:
        raise ConfigError(f"two refiners must write one dialect; these write {first.dialect} and {second.dialect}")


def _thresholds(infos: list[RefinerInfo]) -> dict[str, Thresholds]:
    """Thresholds by caution: for documents those of the first refiner, for lines those of the last."""
    first, last = infos[0].thresholds, infos[-1].thresholds
    if not first or not last:
        return dict(first or last)
    names = set(first) & set(last)
    return {name: Thresholds(line=last[name].line, document=first[name].document) for name in names}
