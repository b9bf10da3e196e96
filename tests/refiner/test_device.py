from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from prox_spark.errors import DeviceError, EngineError
from prox_spark.refiner import device
from prox_spark.refiner.device import CPU, CUDA, default_threads, open_session
from tests.helpers.tiny_models import decoder


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    decoder(tmp_path / "model.onnx", 300)
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("asked", ["gpu", "cuda:", "cuda:x", "", "CPU"])
def test_unknown_devices(asked: str, graph: Path) -> None:
    with pytest.raises(DeviceError, match="no device"):
        open_session(graph, asked)


def test_cpu(graph: Path) -> None:
    session = open_session(graph, "cpu", threads=1)
    assert (session.provider, session.device, session.kind, session.index) == (CPU, "cpu", "cpu", 0)


def test_auto_without_a_gpu_is_the_cpu(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_why_no_cuda", lambda runtime: "none here")
    assert open_session(graph, "auto").device == "cpu"


@pytest.mark.parametrize(("asked", "index"), [("cuda", None), ("cuda:1", None), ("auto", 0), ("cuda", 2)])
def test_cuda_asked_for_and_not_had(
    graph: Path, asked: str, index: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_why_no_cuda", lambda runtime: "the reason")
    with pytest.raises(DeviceError, match=r"CUDA was asked for .* cannot be had: the reason"):
        open_session(graph, asked, device_id=index)


def test_reasons_name_wheel_and_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def runtime(*providers: str) -> Any:
        return SimpleNamespace(get_available_providers=lambda: list(providers))

    def no_library(name: str) -> None:
        raise OSError(f"{name}: not found")

    assert "wheel is for the CPU" in str(device._why_no_cuda(runtime(CPU)))
    monkeypatch.setattr(device.ctypes, "CDLL", no_library)
    assert "NVIDIA driver is missing" in str(device._why_no_cuda(runtime(CUDA, CPU)))
    silent = SimpleNamespace(cuInit=lambda flags: 100, cuDeviceGetCount=lambda count: 0)
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: silent)
    assert "shows no GPU (code 100" in str(device._why_no_cuda(runtime(CUDA, CPU)))


def test_both_wheels_are_an_error(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_installed", lambda: ["onnxruntime", "onnxruntime-gpu"])
    for asked in ("cpu", "auto", "cuda"):
        with pytest.raises(DeviceError, match="both onnxruntime and onnxruntime-gpu are installed"):
            open_session(graph, asked)


def test_the_installed_wheel_is_found() -> None:
    assert device._installed() == ["onnxruntime"]


class FakeRuntime(SimpleNamespace):
    """A GPU wheel whose sessions fall back to the CPU, as they do when CUDA libraries cannot be loaded."""

    __version__ = "0"

    def __init__(self, had: str | Exception) -> None:
        super().__init__(had=had, loaded=False, providers=None)

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU]

    def preload_dlls(self) -> None:
        self.loaded = True

    def SessionOptions(self) -> Any:
        return SimpleNamespace(add_session_config_entry=lambda key, value: None)

    def InferenceSession(self, path: str, options: Any, providers: list[Any]) -> Any:
        self.providers = providers
        if isinstance(self.had, Exception):
            raise self.had
        return SimpleNamespace(get_providers=lambda: [self.had])


def test_a_gpu_that_is_silently_not_used_is_an_error(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = FakeRuntime(CPU)
    monkeypatch.setattr(device, "_runtime", lambda: runtime)
    monkeypatch.setattr(device, "_why_no_cuda", lambda runtime: None)
    with pytest.raises(DeviceError, match=r"was asked for .* got CPUExecutionProvider"):
        open_session(graph, "auto", device_id=3)
    assert runtime.loaded, "CUDA's libraries from the wheels are loaded first"
    assert runtime.providers[0][0] == CUDA
    assert runtime.providers[0][1]["device_id"] == "3"


def test_a_session_on_the_gpu(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_why_no_cuda", lambda runtime: None)
    monkeypatch.setattr(device, "_runtime", lambda: FakeRuntime(CUDA))
    session = open_session(graph, "cuda:1")
    assert (session.provider, session.device, session.kind, session.index) == (CUDA, "cuda:1", "cuda", 1)
    monkeypatch.setattr(device, "_runtime", lambda: FakeRuntime(RuntimeError("no cuDNN")))
    with pytest.raises(DeviceError, match="no cuDNN"):
        open_session(graph, "cuda")


def test_a_broken_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(EngineError, match=r"model\.onnx.*cannot run"):
        open_session(tmp_path / "model.onnx", "cpu")


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROX_SPARK_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert default_threads() == 3
    monkeypatch.setenv("PROX_SPARK_THREADS", "2")
    assert default_threads() == 2
    monkeypatch.setenv("PROX_SPARK_THREADS", "many")
    assert default_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert default_threads() >= 1


def _overflowing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of uint8 [rows, inputs] and int8 [inputs, outputs] as x86 has it without VNNI: pairs in 16 bits."""
    pairs = (a[:, :, None].astype(np.int32) * b[None].astype(np.int32)).reshape(len(a), -1, 2, b.shape[1]).sum(2)
    product: np.ndarray = np.clip(pairs, -(2**15), 2**15 - 1).sum(1)
    return product


X86_WITHOUT_VNNI = device.sums_overflow()


@pytest.mark.parametrize("features", [("avx512_vnni", "avx2"), ("avx2",), ()])
def test_products_are_exact_on_processors_that_would_overflow(
    tmp_path: Path, features: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(200, 256, (3, 64), dtype=np.uint8), random.integers(100, 128, (64, 64)).astype(np.int8)
    exact = a.astype(np.int64) @ b.astype(np.int64)
    assert (_overflowing(a, b) != exact).all(), "without care every sum of these is wrong"
    zero, one = np.asarray(0, dtype=np.uint8), np.float32(1)
    weights = {"b": b, "one": one, "scale": np.ones(64, np.float32), "zero": zero}
    node = helper.make_node("MatMulIntegerToFloat", ["a", "b", "one", "scale", "zero"], ["y"], domain="com.microsoft")
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [None, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 64])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(tmp_path / "model.onnx"))
    monkeypatch.setattr(device, "cpu_features", lambda: features)
    monkeypatch.setattr(device.platform, "machine", lambda: "x86_64")
    session = open_session(tmp_path / "model.onnx", "cpu", threads=1).session
    careful = session.get_session_options().get_session_config_entry(device.EXACT)
    assert careful == ("0" if "avx512_vnni" in features else "1")
    # Taken for a processor with VNNI, one without it shows what care is for.
    found = _overflowing(a, b) if careful == "0" and X86_WITHOUT_VNNI else exact
    np.testing.assert_array_equal(session.run(None, {"a": a})[0], found)
