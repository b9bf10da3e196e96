"""Bundles: a refiner as a directory of an ONNX graph, ``tokenizer.json`` and ``refiner.json``, verified when read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from prox_spark.errors import BundleError
from prox_spark.refiner.manifest import Manifest
from prox_spark.refiner.onnx_files import external_files
from prox_spark.refiner.refiner import RefinerInfo
from prox_spark.text.prompts import PromptFormat, prompt_format
from prox_spark.text.tokenize import TextTokenizer

MANIFEST = "refiner.json"
TOKENIZER = "tokenizer.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PACKAGE = Path(__file__).resolve().parent.parent
# Parts of refiner.json that decide a program, beside the files.
_DECIDING = ("writes", "level", "dialect", "prompt", "limits", "end_tokens")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    directory: where its files are.
    manifest: ``refiner.json``, checked.
    """

    directory: Path
    manifest: Manifest

    @classmethod
    def find(cls, name_or_path: str | Path) -> Bundle:
        """By name, one that ships with the project (in the package, or ``models/`` of a checkout); else a path.

        Raises BundleError.
        """
        name = str(name_or_path)
        if _NAME.fullmatch(name):
            for shelf in (_PACKAGE / "models", _PACKAGE.parent / "models"):
                if (shelf / name / MANIFEST).is_file():
                    return cls.load(shelf / name)
        return cls.load(name_or_path)

    @classmethod
    def load(cls, directory: str | Path) -> Bundle:
        """Read and verify: every file is there and is the one that was written, and none is read from outside.

        Raises BundleError that names the file.
        """
        directory = Path(directory)
        path = directory / MANIFEST
        if not path.is_file():
            raise BundleError(f"no refiner called {str(directory)!r}: no {MANIFEST} there, and no bundle of that name")
        try:
            raw = json.loads(path.read_bytes())
            manifest = Manifest.model_validate(raw)
            # Text with half of a surrogate pair has no hash: an error like any other that the file has.
            of_programs, of_all = fingerprint(raw), integrity(raw)
        except (ValueError, ValidationError, RecursionError) as error:
            raise BundleError(f"{path}: {error}") from error
        for name, expected in manifest.files.items():
            _verify(directory, name, expected)
        if of_programs != manifest.fingerprint:
            raise BundleError(f"{path}: does not have the fingerprint it says; prompt, limits or the like were changed")
        if of_all != manifest.integrity:
            raise BundleError(f"{path}: changed after it was written (integrity hash); write it again with export")
        used = {name for graph in manifest.graphs for name in _external(directory / _inside(directory, graph))}
        for name in {*manifest.graphs, TOKENIZER, *used}:
            if name not in manifest.files:
                raise BundleError(f"{path}: {name!r} is used but not listed under files")
        return cls(directory, manifest)

    @property
    def graph(self) -> Path:
        """The ONNX file."""
        return self.directory / self.manifest.graph

    @property
    def line_graph(self) -> Path:
        """The ONNX file that judges lines, of a bundle that scores."""
        return self.directory / str(self.manifest.line_graph)

    def tokenizer(self) -> TextTokenizer:
        """A new tokenizer; nothing is shared, so threads may have one each."""
        return TextTokenizer.from_file(self.directory / TOKENIZER)

    def prompt(self, tokenizer: TextTokenizer) -> PromptFormat:
        """The prompt format on that tokenizer."""
        return prompt_format(self.manifest.prompt, self.manifest.limits, tokenizer)

    @property
    def info(self) -> RefinerInfo:
        """What the refiner is to the rest of the project."""
        return self.manifest.info()


def write_bundle(directory: str | Path, manifest: Mapping[str, Any]) -> Bundle:
    """Finish a bundle whose graph and tokenizer are in the directory: hash its files, write ``refiner.json``.

    manifest: all of ``refiner.json`` but ``format_version``, ``files``, ``fingerprint`` and ``integrity``. Other files
    in the directory (a model card, a recipe) are no part of the bundle and may change.
    Returns the bundle, read back and verified. Raises BundleError.
    """
    directory = Path(directory)
    raw: dict[str, Any] = {"format_version": 1, "graph": "model.onnx", **manifest}
    graphs = [name for name in (raw["graph"], raw.get("line_graph")) if name is not None]
    names = {TOKENIZER, *graphs}
    for name in sorted(names):
        if not (directory / _inside(directory, name)).is_file():
            raise BundleError(f"{directory / name}: missing")
    for graph in graphs:
        names |= _external(directory / graph)
    raw["files"] = {name: _sha256(directory / name) for name in sorted(names)}
    raw["fingerprint"] = fingerprint(raw)
    raw["integrity"] = integrity(raw)
    unfinished = directory / f".{MANIFEST}.part"
    unfinished.write_text(json.dumps(raw, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(unfinished, directory / MANIFEST)
    return Bundle.load(directory)


def fingerprint(raw: Mapping[str, Any]) -> str:
    """sha256, lower hex, over the sorted (path, sha256) of what decides a program.

    raw: ``refiner.json`` as read. Parts of it count as paths like ``refiner.json#prompt``, hashed as canonical JSON.
    Card, thresholds (they are applied to stored scores), languages and preflight bounds decide no program.
    """
    entries = {name: str(digest) for name, digest in raw["files"].items()}
    # A bundle without a grammar has the fingerprint that it had before there were any.
    parts = (*_DECIDING, "grammar") if raw.get("grammar") else _DECIDING
    entries.update({f"{MANIFEST}#{part}": _canonical_sha256(raw.get(part)) for part in parts})
    return _canonical_sha256(sorted(entries.items()))


def integrity(raw: Mapping[str, Any]) -> str:
    """sha256, lower hex, of all of ``refiner.json`` as canonical JSON, this hash itself left out."""
    return _canonical_sha256({key: value for key, value in raw.items() if key != "integrity"})


def _canonical_sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _inside(directory: Path, name: str) -> str:
    """The name, if it is a relative path that stays inside the directory, symbolic links followed."""
    pure = PurePosixPath(name)
    outside = pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or not pure.parts
    if outside or not (directory / name).resolve().is_relative_to(directory.resolve()):
        raise BundleError(f"{directory / MANIFEST}: {name!r} is not a path inside the bundle")
    return name


def _verify(directory: Path, name: str, expected: str) -> None:
    try:
        path = directory / _inside(directory, name)
        if not path.is_file():
            raise BundleError(f"{path}: missing; the bundle is not complete, copy it again")
        found = _sha256(path)
    except (OSError, ValueError) as error:  # a name that no file can have, or one that may not be read
        raise BundleError(f"{directory / MANIFEST}: the file {name!r} cannot be read: {error}") from error
    if found != expected:
        raise BundleError(f"{path}: not the file that was exported (sha256 differs); half copied or changed")


def _external(graph: Path) -> set[str]:
    """Files with weights beside the graph, relative to the bundle's directory as they have to be."""
    for name in (names := external_files(graph)):
        _inside(graph.parent, name)
    return names
