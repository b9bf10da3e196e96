"""Which processor an inference session runs on: asked for, had, and an error that says why when the two differ."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from prox_spark.errors import DeviceError, EngineError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
EXACT = "session.x64quantprecision"
# Instruction sets that make int8 and fp32 inference quick, best first.
CPU_FEATURES = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp", "asimd")
_DEVICE = re.compile(r"auto|cpu|cuda(?::(\d+))?")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """An open inference session.

    session: ``onnxruntime.InferenceSession``.
    provider: the execution provider that the session says it has.
    device: ``cpu`` or ``cuda:N``.
    """

    session: Any
    provider: str
    device: str

    @property
    def kind(self) -> str:
        """Device type in ONNX Runtime's words: ``cpu`` or ``cuda``."""
        return self.device.partition(":")[0]

    @property
    def index(self) -> int:
        """Number of the GPU; 0 for the CPU."""
        return int(self.device.partition(":")[2] or 0)


def default_threads() -> int:
    """Threads of a session: ``PROX_SPARK_THREADS``, else ``OMP_NUM_THREADS`` (Spark sets it), else usable cores."""
    for name in ("PROX_SPARK_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_features() -> tuple[str, ...]:
    """Instruction sets of this processor that make inference quick, best first; empty where Linux does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    lines = (line for line in text.splitlines() if line.lower().startswith(("flags", "features")))
    flags = {flag for line in lines for flag in line.split(":", 1)[-1].split()}
    return tuple(name for name in CPU_FEATURES if name in flags)


def processor() -> str:
    """Architecture of this processor and what of ``CPU_FEATURES`` it has, for people."""
    return f"{platform.machine()}: {', '.join(cpu_features()) or 'instruction sets not known'}"


def sums_overflow() -> bool:
    """Whether 8-bit products of int8 weights may overflow here: x86 without VNNI adds two of them in 16 bits.

    There a session has to be asked for ONNX Runtime's slower products, which give the same sums as any other machine.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
    return x86 and not any("vnni" in name for name in cpu_features())


def open_session(
    graph: Path, device: str = "auto", *, device_id: int | None = None, threads: int | None = None
) -> Session:
    """Open a session in this process and make sure that it runs where it was asked to.

    graph: ONNX file.
    device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. ``auto`` with a ``device_id`` must have that GPU; without one it
        takes a GPU if the wheel and the driver are there, else the CPU.
    threads: on the CPU; default ``default_threads()``.
    Raises DeviceError, EngineError.
    """
    kind, index = _parse(device)
    runtime = _runtime()
    index = device_id if index is None else index
    required = kind == "cuda" or (kind == "auto" and index is not None)
    if kind != "cpu":
        missing = _why_no_cuda(runtime)
        if missing is None:
            return _open(runtime, graph, f"cuda:{index or 0}", threads)
        if required:
            raise DeviceError(f"CUDA was asked for ({device}, GPU {index or 0}) and cannot be had: {missing}")
        if CUDA in runtime.get_available_providers():
            _log.warning("running on the CPU: %s", missing)
    return _open(runtime, graph, "cpu", threads)


def _parse(device: str) -> tuple[str, int | None]:
    match = _DEVICE.fullmatch(device)
    if match is None:
        raise DeviceError(f"no device {device!r}; there are auto, cpu, cuda and cuda:N")
    return device.partition(":")[0], None if match[1] is None else int(match[1])


def _installed() -> list[str]:
    """The wheels of ONNX Runtime that are installed."""
    names = {(distribution.metadata["Name"] or "").lower() for distribution in metadata.distributions()}
    return sorted(names & {"onnxruntime", "onnxruntime-gpu"})


def _runtime() -> ModuleType:
    """``onnxruntime``, of exactly one wheel."""
    if len(wheels := _installed()) > 1:
        raise DeviceError(
            "both onnxruntime and onnxruntime-gpu are installed; they overwrite each other's files and the GPU may "
            "silently not be used. Uninstall both, then install prox-spark[cpu] or prox-spark[gpu]"
        )
    try:
        import onnxruntime
    except ImportError as error:
        hint = f"{', '.join(wheels)} is installed but cannot be imported" if wheels else "it is not installed"
        raise DeviceError(f"no ONNX Runtime: {hint} ({error}); install prox-spark[cpu] or prox-spark[gpu]") from error
    module: ModuleType = onnxruntime
    return module


def _why_no_cuda(runtime: ModuleType) -> str | None:
    """What is missing for CUDA, in words; None if nothing is known to be."""
    if CUDA not in runtime.get_available_providers():
        return "the installed onnxruntime wheel is for the CPU; uninstall it and install prox-spark[gpu]"
    try:
        driver = ctypes.CDLL("libcuda.so.1" if os.name == "posix" else "nvcuda.dll")
    except OSError as error:
        return f"the NVIDIA driver is missing or not visible here ({error})"
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code != 0 or count.value == 0:
        return f"the NVIDIA driver shows no GPU (code {code}, CUDA_VISIBLE_DEVICES={_visible()})"
    return None


def _visible() -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "not set")


def _open(runtime: ModuleType, graph: Path, device: str, threads: int | None) -> Session:
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or default_threads()
    options.inter_op_num_threads = 1
    # Sequences grow by one token a step: a memory plan kept for each length would only ever grow.
    options.enable_mem_pattern = False
    # Several sessions share a machine under Spark; threads that wait by spinning would take each other's cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(EXACT, "1" if sums_overflow() else "0")
    wanted = CPU if device == "cpu" else CUDA
    providers: list[Any] = [CPU]
    if wanted == CUDA:
        if hasattr(runtime, "preload_dlls"):
            runtime.preload_dlls()
        index = device.partition(":")[2]
        cuda = {"device_id": index, "arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
        providers = [(CUDA, cuda), CPU]
    try:
        session = runtime.InferenceSession(str(graph), options, providers=providers)
    except Exception as error:  # the runtime raises many kinds, none of them public
        if wanted == CUDA:
            raise DeviceError(f"CUDA was asked for ({device}) and the session could not be made: {error}") from error
        raise EngineError(f"{graph}: ONNX Runtime {runtime.__version__} cannot run this graph: {error}") from error
    had = session.get_providers()[0]
    if had != wanted:
        raise DeviceError(
            f"{wanted} was asked for ({device}), the session got {had}: CUDA or cuDNN libraries could not be loaded; "
            "install prox-spark[gpu], whose wheels bring them, on a driver that is new enough"
        )
    return Session(session, had, device)
