from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from prox_spark.errors import BundleError
from prox_spark.refiner import bundle as bundles
from prox_spark.refiner.bundle import Bundle, write_bundle
from prox_spark.refiner.onnx_files import external_files
from prox_spark.refiner.refiner import Refiner
from prox_spark.refiner.shapes import VERSION
from prox_spark.text.templates import PROX_CHUNK, PROX_DOC
from tests.helpers.tiny_models import decode_bundle, read_manifest, score_bundle

DECODES = {"writes": "decode", "end_tokens": [2], "limits": {"max_new_tokens": 9}}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return score_bundle(tmp_path / "tiny")


def change(bundle: Bundle, **values: object) -> None:
    raw = read_manifest(bundle) | values
    (bundle.directory / "refiner.json").write_text(json.dumps(raw), encoding="utf-8")


def test_a_bundle_reads_back(bundle: Bundle) -> None:
    info = Bundle.load(bundle.directory).info
    assert (info.name, info.version, info.writes, info.level, info.dialect) == (
        "tiny-score",
        "0.1",
        "score",
        "both",
        "prox",
    )
    assert info.languages == ("en",)
    assert info.thresholds["balanced"].line == 0.5
    assert info.limits["window_tokens"] == 128
    assert info.fingerprint == read_manifest(bundle)["fingerprint"]
    assert set(read_manifest(bundle)["files"]) == {"lines.onnx", "model.onnx", "tokenizer.json"}


def test_the_fingerprint_is_what_decides_a_program_and_nothing_else(tmp_path: Path) -> None:
    first = score_bundle(tmp_path / "a").info.fingerprint
    assert score_bundle(tmp_path / "b").info.fingerprint == first
    bounds = {"min_kept_words": 1.0}
    told = score_bundle(tmp_path / "c", name="other", card={"licence": "MIT"}, languages=[], preflight=bounds)
    assert told.info.fingerprint == first, "name, card, languages and preflight decide no program"
    calmer = {"balanced": {"line": 0.9, "document": 0.9}}
    assert score_bundle(tmp_path / "d", caution=calmer).info.fingerprint == first, "thresholds apply to stored scores"
    others = [
        score_bundle(tmp_path / "e", seed=1),
        score_bundle(tmp_path / "f", limits={"window_tokens": 129, "max_line_tokens": 24, "head_tokens": 16}),
        score_bundle(tmp_path / "g", prompt={"format": "compact", "bos_token": "<s>", "shapes": 1}),
        score_bundle(tmp_path / "i", end_tokens=[2]),
    ]
    dialect = bundles.fingerprint({**read_manifest(Bundle.load(tmp_path / "b")), "dialect": "refinex"})
    assert len({first, dialect, *(other.info.fingerprint for other in others)}) == 6


def test_integrity_covers_card_and_thresholds(bundle: Bundle) -> None:
    change(bundle, card={"licence": "something else"})
    with pytest.raises(BundleError, match="integrity"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize("key", ["prompt", "limits", "end_tokens"])
def test_a_changed_prompt_is_refused(bundle: Bundle, key: str) -> None:
    values = {
        "prompt": {"format": "compact", "bos_token": "<s>", "shapes": 1},
        "limits": {},
        "end_tokens": [7],
    }
    change(bundle, **{key: values[key]})
    with pytest.raises(BundleError, match="fingerprint"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_half_copied_or_changed_file_is_refused_by_name(bundle: Bundle, name: str) -> None:
    path = bundle.directory / name
    whole = path.read_bytes()
    for content in (whole[:-10], whole[:-1] + b"?", b""):
        path.write_bytes(content)
        with pytest.raises(BundleError, match=f"{name}: not the file that was exported"):
            Bundle.load(bundle.directory)
    path.unlink()
    with pytest.raises(BundleError, match=f"{name}: missing"):
        Bundle.load(bundle.directory)


def test_a_cut_off_manifest_is_refused(bundle: Bundle) -> None:
    path = bundle.directory / "refiner.json"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BundleError, match=r"refiner\.json"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/hostname", "a/../../b", "C:\\x", "..\\x", ""])
def test_paths_stay_inside(bundle: Bundle, name: str) -> None:
    change(bundle, files={**read_manifest(bundle)["files"], name: "0" * 64})
    with pytest.raises(BundleError, match="not a path inside"):
        Bundle.load(bundle.directory)


def test_links_stay_inside(bundle: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    (bundle.directory / "model.onnx").rename(outside)
    (bundle.directory / "model.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="not a path inside"):
        Bundle.load(bundle.directory)


def test_the_whole_directory_may_be_a_link(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle.directory)
    assert Bundle.load(tmp_path / "link").info == bundle.info


def weights_beside(bundle: Bundle, location: str) -> None:
    """Rewrite the graph so that a weight lies in another file."""
    model = onnx.load(str(bundle.graph))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    bundle.graph.write_bytes(model.SerializeToString())


def test_weights_beside_the_graph_are_part_of_the_bundle(bundle: Bundle) -> None:
    weights_beside(bundle, "model.onnx_data")
    (bundle.directory / "model.onnx_data").write_bytes(b"weights")
    manifest = {k: v for k, v in read_manifest(bundle).items() if k not in ("files", "fingerprint", "integrity")}
    assert "model.onnx_data" in write_bundle(bundle.directory, manifest).manifest.files
    (bundle.directory / "model.onnx_data").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx_data: missing"):
        Bundle.load(bundle.directory)


@pytest.mark.parametrize("location", ["../weights", "/etc/hostname"])
def test_weights_outside_are_refused(bundle: Bundle, location: str) -> None:
    weights_beside(bundle, location)
    manifest = {k: v for k, v in read_manifest(bundle).items() if k not in ("files", "fingerprint", "integrity")}
    with pytest.raises(BundleError, match="not a path inside"):
        write_bundle(bundle.directory, manifest)


def test_weights_that_are_used_but_not_listed_are_refused(bundle: Bundle) -> None:
    weights_beside(bundle, "more.bin")
    (bundle.directory / "more.bin").write_bytes(b"weights")
    manifest = {k: v for k, v in read_manifest(bundle).items() if k not in ("files", "fingerprint", "integrity")}
    written = write_bundle(bundle.directory, manifest)
    raw = read_manifest(written)
    del raw["files"]["more.bin"]
    raw["fingerprint"] = bundles.fingerprint(raw)
    raw["integrity"] = bundles.integrity(raw)
    (bundle.directory / "refiner.json").write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(BundleError, match=r"'more.bin' is used but not listed"):
        Bundle.load(bundle.directory)


def test_external_files_are_found_in_subgraphs_attributes_and_functions(tmp_path: Path) -> None:
    def outside(name: str) -> TensorProto:
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="offset", value="0")
        tensor.external_data.add(key="location", value=f"{name}.bin")
        return tensor

    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=outside("attribute"))], "inner", [], [])
    inner.initializer.append(outside("inner"))
    node = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=helper.make_graph([], "e", [], []))
    graph = helper.make_graph([node], "outer", [], [], [outside("outer")])
    default = helper.make_attribute("weights", outside("default"))
    within = [helper.make_node("Constant", [], ["y"], value=outside("function"))]
    opsets = [helper.make_opsetid("", 20)]
    function = helper.make_function("ours", "f", ["x"], ["y"], within, opsets, attribute_protos=[default])
    model = helper.make_model(graph, functions=[function])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = {"attribute.bin", "inner.bin", "outer.bin", "function.bin", "default.bin"}
    assert external_files(tmp_path / "m.onnx") == found


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff", b"not an onnx file at all, just words"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"m\.onnx"):
        external_files(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "surprise"),
        ({"format_version": 2}, "format_version"),
        ({"writes": "sing"}, "writes"),
        ({"caution": {}}, "caution.balanced"),
        ({"writes": "decode", "level": "chunk"}, "end_tokens"),
        ({"writes": "decode", "level": "both", "end_tokens": [2]}, "use two bundles"),
        ({"writes": "decode", "level": "chunk", "end_tokens": [2]}, "max_new_tokens"),
        ({"limits": {"window_tokens": -5}}, "limits.window_tokens"),
        ({"limits": {"window_token": 9}}, "there is no window_token; there are window_tokens"),
        ({"preflight": {"min_operation_rate": 0.5}}, "there is no min_operation_rate"),
        ({"prompt": {"format": "custom", "sufix": ""}}, "there is no sufix"),
        ({"prompt": {"format": "custom", "prefix": None}}, "prefix has to be str, it is None"),
        ({"prompt": {"format": "custom", "strip_end": "false"}}, "strip_end has to be bool, it is 'false'"),
        ({"files": {"a\0b": "0" * 64}}, "cannot be read: embedded null byte"),
        ({"files": {"a" * 300: "0" * 64}}, "cannot be read: .*too long"),
        ({"card": {"from": "\ud800"}}, "surrogates not allowed"),
        ({"dialect": "ultrax"}, "in dialect prox, the bundle says ultrax"),
        ({"prompt": {"format": "custom", "shapes": VERSION}}, "compact is for bundles that score"),
        ({"prompt": {"format": "compact", "shapes": VERSION, "line_suffix": "<eol>"}}, "line_suffix is a newline"),
        ({**DECODES, "level": "chunk", "prompt": PROX_DOC}, "line_prefix numbers the lines of a chunk"),
        ({**DECODES, "level": "document", "prompt": PROX_CHUNK}, "line_prefix numbers the lines of a chunk"),
        ({**DECODES, "level": "chunk", "prompt": {"format": "compact"}}, "compact is for bundles that score"),
        ({"graph": "sub/model.onnx"}, "another directory than refiner.json"),
        (
            {**DECODES, "level": "chunk", "dialect": "ultrax", "prompt": PROX_CHUNK},
            "prompt.first_line is 0, and ultrax counts lines from 1",
        ),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(bundle: Bundle, changes: dict[str, object], message: str) -> None:
    change(bundle, **changes)
    with pytest.raises(BundleError, match=message):
        Bundle.load(bundle.directory)


def test_a_manifest_that_is_nested_without_end_is_refused(bundle: Bundle) -> None:
    (bundle.directory / "refiner.json").write_text('{"card": ' + "[" * 100_000, encoding="utf-8")
    with pytest.raises(BundleError, match="recursion"):
        Bundle.load(bundle.directory)


def test_names_are_looked_up_beside_the_package_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score_bundle(tmp_path / "models" / "shipped")
    (tmp_path / "prox_spark").mkdir()
    monkeypatch.setattr(bundles, "_PACKAGE", tmp_path / "prox_spark")
    assert Bundle.find("shipped").directory == tmp_path / "models" / "shipped"
    shutil.copytree(tmp_path / "models", tmp_path / "prox_spark" / "models")
    assert Bundle.find("shipped").directory == tmp_path / "prox_spark" / "models" / "shipped"
    monkeypatch.chdir(tmp_path / "models")
    assert Bundle.find("./shipped").directory == Path("shipped")


def test_a_field_whose_number_other_readers_cut_off_is_refused(tmp_path: Path) -> None:
    def field(number: int, content: bytes, high: int = 0) -> bytes:
        key, varint = (number << 3 | 2) | high, bytearray()
        while key > 127:
            varint.append(key & 127 | 128)
            key >>= 7
        return bytes([*varint, key, len(content)]) + content

    entry = field(1, b"location") + field(2, b"w.bin")
    for high in (0, 1 << 32):
        # ModelProto.graph, GraphProto.initializer, TensorProto.external_data.
        (tmp_path / "m.onnx").write_bytes(field(7, field(5, field(13, entry, high))))
        if not high:
            assert external_files(tmp_path / "m.onnx") == {"w.bin"}
            continue
        with pytest.raises(BundleError, match="more than 32 bits"):
            external_files(tmp_path / "m.onnx")


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    for name in ("no-such-refiner", str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(BundleError, match="no refiner called"):
            Refiner.load(name)


def test_describe_needs_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode_bundle(tmp_path / "d", level="document")
    monkeypatch.setattr("prox_spark.refiner.device._runtime", lambda: pytest.fail("opened a session"))
    info = Refiner.describe(tmp_path / "d")
    assert (info.writes, info.level, info.thresholds) == ("decode", "document", {})
    assert Refiner.describe("scripted:noise").writes == "script"
