"""``refiner.json`` as a model: unknown keys are errors, so a bundle from a newer version is refused, not misread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from prox_spark.program.dialects import get_dialect
from prox_spark.program.scores import Thresholds
from prox_spark.refiner import shapes
from prox_spark.refiner.refiner import RefinerInfo

Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


# What `prompt` may say: docs/bundles.md. Held to its types here, on the driver, not when a worker reads the first text.
_PROMPT: dict[str, tuple[type, ...]] = {
    "format": (str,),
    "bos_token": (str, type(None)),
    "prefix": (str,),
    "suffix": (str,),
    "line_prefix": (str,),
    "line_separator": (str,),
    "line_suffix": (str,),
    "first_line": (int,),
    "strip_end": (bool,),
    "shapes": (int,),
}
_LIMITS = ("window_tokens", "max_new_tokens", "max_line_tokens", "head_tokens", "line_chars")
_BOUNDS = ("min_operations_rate", "max_operations_rate", "min_kept_words", "max_parse_errors")


def _need_names(given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(given).difference(known))
    if unknown:
        raise ValueError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")


class Caution(BaseModel):
    """Probabilities from which a line is removed, and a document dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: float
    document: float


class Manifest(BaseModel):
    """All of ``refiner.json``; docs/bundles.md explains every key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1]
    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    writes: Literal["score", "decode"]
    level: Literal["document", "chunk", "both"]
    dialect: Literal["prox", "refinex", "ultrax"]
    languages: tuple[str, ...] = ()
    prompt: dict[str, Any]
    limits: dict[str, Annotated[int, Field(ge=1)]]
    end_tokens: tuple[int, ...] = ()
    grammar: bool = False
    precision: Literal["fp32", "fp16", "int8"]
    graph: str = "model.onnx"
    line_graph: str | None = None
    caution: dict[Literal["cautious", "balanced", "aggressive"], Caution] = {}
    preflight: dict[str, float] = {}
    card: dict[str, Any] = {}
    files: dict[str, str]
    fingerprint: str = Sha256
    integrity: str = Sha256

    @field_validator("graph", "line_graph")
    @classmethod
    def _beside(cls, name: str | None) -> str | None:
        # ONNX Runtime looks for weights beside the graph; hashes are of files in the bundle's own directory.
        if name is not None and "/" in name:
            raise ValueError(f"{name!r} is in another directory than refiner.json")
        return name

    @field_validator("prompt")
    @classmethod
    def _known_prompt(cls, prompt: dict[str, Any]) -> dict[str, Any]:
        _need_names(prompt, tuple(_PROMPT))
        for name, value in prompt.items():
            if type(value) not in _PROMPT[name]:
                kinds = " or ".join("null" if kind is type(None) else kind.__name__ for kind in _PROMPT[name])
                raise ValueError(f"{name} has to be {kinds}, it is {value!r}")
        if prompt.get("line_suffix", "\n") != "\n":
            raise ValueError("line_suffix is a newline, there is no other")
        return prompt

    @field_validator("limits")
    @classmethod
    def _known_limits(cls, limits: dict[str, int]) -> dict[str, int]:
        _need_names(limits, _LIMITS)
        return limits

    @field_validator("preflight")
    @classmethod
    def _known_bounds(cls, bounds: dict[str, float]) -> dict[str, float]:
        _need_names(bounds, _BOUNDS)
        return bounds

    @model_validator(mode="after")
    def _fits_together(self) -> Manifest:
        if self.writes == "score" and "balanced" not in self.caution:
            raise ValueError("a bundle that scores needs caution.balanced")
        if self.writes == "score" and self.line_graph is None:
            raise ValueError("a bundle that scores needs a line_graph; export it again with this version")
        if self.writes == "score" and self.prompt.get("shapes") != shapes.VERSION:
            raise ValueError(f"prompt.shapes has to be {shapes.VERSION}; export it again with this version")
        if self.writes == "decode" and not self.end_tokens:
            raise ValueError("a bundle that decodes needs end_tokens")
        if self.writes == "decode" and self.level == "both":
            raise ValueError("a bundle that decodes is for documents or for chunks; use two bundles")
        if self.writes == "decode" and "max_new_tokens" not in self.limits:
            raise ValueError("a bundle that decodes needs limits.max_new_tokens")
        if self.writes == "decode" and "line_prefix" in self.prompt:
            shown, counted = self.prompt.get("first_line", 0), get_dialect(self.dialect).first_line
            if shown != counted:
                raise ValueError(f"prompt.first_line is {shown}, and {self.dialect} counts lines from {counted}")
        if self.writes == "score" and self.grammar:
            raise ValueError("a bundle that scores decodes nothing that a grammar could be for")
        if self.writes == "score" and self.dialect != "prox":
            raise ValueError(f"programs are written from scores in dialect prox, the bundle says {self.dialect}")
        if (self.writes == "score") != (self.prompt.get("format") == "compact"):
            raise ValueError("prompt.format compact is for bundles that score, and these have no other")
        if self.writes == "decode" and (self.level == "chunk") != ("line_prefix" in self.prompt):
            raise ValueError("prompt.line_prefix numbers the lines of a chunk: level chunk needs it, document has none")
        return self

    @property
    def graphs(self) -> tuple[str, ...]:
        """Names of the ONNX files."""
        return (self.graph,) if self.line_graph is None else (self.graph, self.line_graph)

    def info(self) -> RefinerInfo:
        """The same, as the rest of the project knows refiners."""
        return RefinerInfo(
            name=self.name,
            version=self.version,
            fingerprint=self.fingerprint,
            writes=self.writes,
            level=self.level,
            dialect=self.dialect,
            languages=self.languages,
            precision=self.precision,
            grammar=self.grammar,
            thresholds={str(name): Thresholds(c.line, c.document) for name, c in self.caution.items()},
            limits=self.limits,
            preflight=self.preflight,
            card=self.card,
        )
