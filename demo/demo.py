"""The demo: three spark-submits on this machine (load pages, refine them, report), then where to look next.

Everything that a launcher, Ivy or Spark has to say goes to OUT/spark.log; what our jobs print is shown as it comes.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Three short jobs: a JVM that compiles quickly rather than well needs half of the processor time.
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
PAGES = ROOT / "demo" / "sample_pages.jsonl.gz"


def main() -> int:
    """Run the demo; returns the exit code of the first step that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "demo-output")
    parser.add_argument("--refiner", default="web-lite")
    given = parser.parse_args()
    # Jobs start in the project's folder; from there a path under it is short to read.
    out = Path(os.path.relpath(given.out.resolve(), ROOT))
    os.chdir(ROOT)
    out.mkdir(parents=True, exist_ok=True)
    (out / "spark.log").unlink(missing_ok=True)
    started = time.monotonic()
    pages, tables, report = str(out / "pages"), str(out / "tables"), str(out / "report.html")
    refine = ["--source", pages, "--format", "delta", "--tables", tables, "--refiner", given.refiner]
    steps = [
        ("Loading 56 web pages into a Delta table", ["demo/load_pages.py", str(PAGES), pages]),
        (f"Refining them with {given.refiner}", ["jobs/refine.py", *refine]),
        ("What the tables say", ["jobs/report.py", "--tables", tables, "--out", report]),
    ]
    if (out / "pages" / "_delta_log" / f"{0:020}.json").is_file():
        print(f"\nThe pages are in the Delta table {pages} already.")
        steps = steps[1:]
    for title, command in steps:
        print(f"\n{_bold(f'== {title}')}\n   spark-submit {' '.join(command)}\n", flush=True)
        code = submit(command, out / "spark.log")
        if code:
            return code
    print(_where_next(out, time.monotonic() - started))
    return 0


def submit(command: list[str], log: Path) -> int:
    """Run one job by spark-submit; its log goes to a file, of which the end is shown when the job fails."""
    spark_home = _spark_home()
    submit_command = [
        str(spark_home / "bin" / "spark-submit"),
        "--properties-file", str(ROOT / "conf" / "local.conf"),
        "--driver-java-options", f"-Dlog4j2.configurationFile=file:{ROOT / 'conf' / 'log4j2.properties'} {QUICK_START}",
        *command,
    ]  # fmt: skip
    width = shutil.get_terminal_size((110, 40)).columns
    environment = os.environ | {"SPARK_HOME": str(spark_home), "PYSPARK_PYTHON": sys.executable, "COLUMNS": str(width)}
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as file:
        code = subprocess.run(submit_command, cwd=ROOT, env=environment, stderr=file, check=False).returncode
    if code:
        with log.open("rb") as file:
            file.seek(begin)
            said = file.read().decode("utf-8", errors="replace").splitlines()
        print("\n".join(said[-40:]), file=sys.stderr)
        print(f"\nThis step failed (exit code {code}). All that it said: {log}", file=sys.stderr)
    return code


def _spark_home() -> Path:
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise SystemExit("pyspark is not installed here. Run this by `make demo`.")
    return Path(spec.origin).parent


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def _where_next(out: Path, seconds: float) -> str:
    return f"""
{_bold(f"== Done in {seconds:.0f} s. Where to look next")}
   {out}/report.html      all of this and more pages before and after, in a browser
   {out}/tables           the Delta tables: programs, refined, quarantine, runs
   {out}/tables/views.sql the views corpus (what to train on) and removed_lines (why did this line go?)
   {out}/spark.log        what Spark had to say

   Run it again: nothing is new, so no page is read twice. On your own data:
   .venv/bin/prox-spark refine --source YOUR_TABLE_OR_PATH --format delta --tables OUT/ --refiner web-lite --dry-run
"""


if __name__ == "__main__":
    sys.exit(main())
