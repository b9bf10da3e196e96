"""The command line. Exit codes: 0 done or nothing new, 1 unexpected failure, 2 usage, 3 error budget, 4 preflight.

Commands import what they need when they run, so that `prox-spark --help` is quick and works without Spark or a model.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from prox_spark.cli_annotate import annotate
from prox_spark.cli_data import build_data
from prox_spark.cli_diff import diff
from prox_spark.cli_evaluate import evaluate
from prox_spark.cli_retry import retry
from prox_spark.cli_upkeep import forget, maintain, migrate
from prox_spark.config import (
    Caution,
    Command,
    GrammarMode,
    GuardSettings,
    JobSettings,
    Mode,
    Policy,
    PreflightMode,
    SourceFormat,
    job_settings,
)
from prox_spark.errors import (
    BundleError,
    ConfigError,
    DeviceError,
    EndpointError,
    EngineError,
    ErrorBudgetExceeded,
    PreflightError,
    ProxError,
    SchemaError,
    SourceError,
    StorageError,
)
from prox_spark.version import __version__

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OK, UNEXPECTED, USAGE, ERROR_BUDGET, PREFLIGHT, INTERRUPTED = 0, 1, 2, 3, 4, 130

# What to do next, by kind of error; the message itself says what is wrong. The first class that fits counts.
NEXT_STEPS: tuple[tuple[type[ProxError], str], ...] = (
    (
        PreflightError,
        "A broken prompt format and a source that the refiner was not made for look alike: read the programs of the "
        "sample, then go on with --preflight warn if they are right.",
    ),
    (
        ErrorBudgetExceeded,
        "What was committed stays. SELECT reason, detail FROM quarantine shows why (annotate: SELECT error, detail "
        "FROM annotations). The same command goes on where it stopped, and leaves in quarantine what failed: "
        "prox-spark retry --reason program_error tries that again. --max-error-rate sets the budget.",
    ),
    (
        EndpointError,
        "Check --base-url, --model and the key. What was answered stays, and the same command asks for the rest.",
    ),
    (StorageError, "Make room, then run the same command again: it goes on where it stopped."),
    (SourceError, "Check --source, --format and the column names."),
    (SchemaError, "docs/upkeep.md says what versions and columns of tables have to do with each other."),
    (BundleError, "`prox-spark doctor` lists the bundles that are found, and verifies them."),
    (DeviceError, "`prox-spark doctor` shows what this machine has; --device cpu runs without a GPU."),
    (ConfigError, "`prox-spark COMMAND --help` lists the settings."),
)

# Parameters that say whether to do it, not what.
ASKED = ("dry_run", "yes")

app = typer.Typer(
    name="prox-spark",
    help="Clean pre-training text line by line: refiners write programs, Spark keeps them and executes them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console()
log = Console(stderr=True)


def _option(panel: str, *names: str, help: str, setting: str | None = None) -> Any:
    """An option in a panel of the help; `setting` names the guard or setting whose default is shown."""
    default: Any = None
    if setting is not None:
        fields = GuardSettings.model_fields | JobSettings.model_fields
        default = str(fields[setting].default)
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=default or True)


_SOURCE, _TABLES, _HOW, _RUN = "Source", "Tables", "How programs are applied", "How it runs"

Source = Annotated[str, _option(_SOURCE, help="Path (file, folder or glob), or for delta a table's name.")]
Format = Annotated[SourceFormat, _option(_SOURCE, help="Format of the source.")]
IdColumn = Annotated[str, _option(_SOURCE, help="Column with the id; text_hash: the text's sha256.")]
TextColumn = Annotated[str, _option(_SOURCE, help="Column with the text.")]
LanguageColumn = Annotated[str | None, _option(_SOURCE, help="Column with the language code.")]
AnyLanguage = Annotated[bool, _option(_SOURCE, "--any-language", help="Refine documents in all languages.")]
Schema = Annotated[str | None, _option(_SOURCE, "--schema", help="Spark DDL of a jsonl source.")]
FromVersion = Annotated[int | None, _option(_SOURCE, help="Begin with this version of a Delta source.")]
IgnoreDeletes = Annotated[bool, _option(_SOURCE, "--ignore-deletes", help="Keep what a change data feed says is gone.")]
Reconcile = Annotated[
    bool, _option(_SOURCE, "--reconcile", help="Compare the whole source, and say what a run would do.")
]
Yes = Annotated[bool, _option(_SOURCE, "--yes", help="With --reconcile: do it.")]
Carry = Annotated[list[str] | None, _option(_SOURCE, help="Column to carry through; default: all others.")]
Evolve = Annotated[bool, _option(_SOURCE, "--evolve", help="Add columns that are new in the source.")]
Tables = Annotated[str, _option(_TABLES, help="Directory (holds / or :) or schema of the tables.")]
Programs = Annotated[str | None, _option(_TABLES, help="Read programs from these tables instead.")]
Checkpoints = Annotated[str | None, _option(_TABLES, help="Where the stream keeps its progress.")]
RefinerOption = Annotated[
    list[str], _option(_RUN, "--refiner", help="Bundle: name or directory. Twice: document, then chunk bundle.")
]
ModeOption = Annotated[Mode, _option(_HOW, help="tag: do everything but touch the text.")]
PolicyOption = Annotated[Policy, _option(_HOW, help="gair: bit for bit the released ProX executor.")]
CautionOption = Annotated[Caution, _option(_HOW, help="Which of the bundle's thresholds to take.")]
WriteKey = Annotated[str | None, _option(_HOW, help="Which programs, where there are several.")]
MaxBytes = Annotated[int | None, _option(_HOW, help="More: quarantined.", setting="max_bytes")]
MaxLines = Annotated[int | None, _option(_HOW, help="More: quarantined.", setting="max_lines")]
MaxErrors = Annotated[int | None, _option(_HOW, help="So many errors: left as it was.", setting="max_errors")]
MaxRemoved = Annotated[float | None, _option(_HOW, help="More removed: dropped.", setting="max_removed_ratio")]
MinWords = Annotated[int | None, _option(_HOW, help="Fewer left: dropped.", setting="min_words")]
NewWords = Annotated[bool | None, _option(_HOW, "--allow-new-words", help="Let programs bring in words.")]
Device = Annotated[str, _option(_RUN, help="auto, cpu, cuda or cuda:N.")]
GrammarOption = Annotated[GrammarMode, _option(_RUN, help="Keep what decodes to what a chunk allows.")]
Preflight = Annotated[PreflightMode, _option(_RUN, help="What an odd sample of the source does.")]
PreflightDocuments = Annotated[int | None, _option(_RUN, help="Size of that sample.", setting="preflight_documents")]
MaxTokens = Annotated[int | None, _option(_RUN, help="More in a document: quarantined.", setting="max_tokens")]
MaxSeconds = Annotated[float | None, _option(_RUN, help="More for a document: quarantined.", setting="max_seconds")]
MaxErrorRate = Annotated[float | None, _option(_RUN, help="Share that may fail.", setting="max_error_rate")]
BatchBytes = Annotated[int | None, _option(_RUN, help="Source bytes a micro-batch; default: as measured.")]
MaxBatches = Annotated[int | None, _option(_RUN, help="Stop after so many micro-batches.")]
WritePartitions = Annotated[int | None, _option(_RUN, help="Tasks of WRITE in a micro-batch.")]
DryRun = Annotated[bool, _option(_RUN, "--dry-run", help="Count and estimate; write nothing.")]


@app.command()
def refine(
    ctx: typer.Context,
    source: Source,
    tables: Tables,
    refiner: RefinerOption,
    format: Format = "delta",
    id_column: IdColumn = "doc_id",
    text_column: TextColumn = "text",
    language_column: LanguageColumn = None,
    any_language: AnyLanguage = False,
    schema: Schema = None,
    from_version: FromVersion = None,
    ignore_deletes: IgnoreDeletes = False,
    reconcile: Reconcile = False,
    yes: Yes = False,
    carry: Carry = None,
    evolve: Evolve = False,
    mode: ModeOption = "refine",
    policy: PolicyOption = "strict",
    caution: CautionOption = "balanced",
    max_bytes: MaxBytes = None,
    max_lines: MaxLines = None,
    max_errors: MaxErrors = None,
    max_removed_ratio: MaxRemoved = None,
    min_words: MinWords = None,
    allow_new_words: NewWords = None,
    device: Device = "auto",
    grammar: GrammarOption = "auto",
    preflight: Preflight = "fail",
    preflight_documents: PreflightDocuments = None,
    max_tokens: MaxTokens = None,
    max_seconds: MaxSeconds = None,
    max_error_rate: MaxErrorRate = None,
    batch_bytes: BatchBytes = None,
    max_batches: MaxBatches = None,
    write_partitions: WritePartitions = None,
    checkpoints: Checkpoints = None,
    dry_run: DryRun = False,
) -> None:
    """Write programs for what is new in the source, and execute them: the whole job."""
    _job("refine", ctx)


@app.command()
def write(
    ctx: typer.Context,
    source: Source,
    tables: Tables,
    refiner: RefinerOption,
    format: Format = "delta",
    id_column: IdColumn = "doc_id",
    text_column: TextColumn = "text",
    any_language: AnyLanguage = False,
    schema: Schema = None,
    from_version: FromVersion = None,
    ignore_deletes: IgnoreDeletes = False,
    reconcile: Reconcile = False,
    yes: Yes = False,
    max_bytes: MaxBytes = None,
    max_lines: MaxLines = None,
    device: Device = "auto",
    grammar: GrammarOption = "auto",
    preflight: Preflight = "fail",
    preflight_documents: PreflightDocuments = None,
    max_tokens: MaxTokens = None,
    max_seconds: MaxSeconds = None,
    max_error_rate: MaxErrorRate = None,
    batch_bytes: BatchBytes = None,
    max_batches: MaxBatches = None,
    write_partitions: WritePartitions = None,
    checkpoints: Checkpoints = None,
    dry_run: DryRun = False,
) -> None:
    """Only write programs: the expensive half, for machines with GPUs."""
    _job("write", ctx)


@app.command()
def execute(
    ctx: typer.Context,
    source: Source,
    tables: Tables,
    format: Format = "delta",
    id_column: IdColumn = "doc_id",
    text_column: TextColumn = "text",
    language_column: LanguageColumn = None,
    schema: Schema = None,
    from_version: FromVersion = None,
    reconcile: Reconcile = False,
    yes: Yes = False,
    carry: Carry = None,
    evolve: Evolve = False,
    programs: Programs = None,
    write_key: WriteKey = None,
    mode: ModeOption = "refine",
    policy: PolicyOption = "strict",
    caution: CautionOption = "balanced",
    max_bytes: MaxBytes = None,
    max_lines: MaxLines = None,
    max_errors: MaxErrors = None,
    max_removed_ratio: MaxRemoved = None,
    min_words: MinWords = None,
    allow_new_words: NewWords = None,
    max_error_rate: MaxErrorRate = None,
    batch_bytes: BatchBytes = None,
    max_batches: MaxBatches = None,
    checkpoints: Checkpoints = None,
    dry_run: DryRun = False,
) -> None:
    """Only execute programs that are there already: no model, cheap, as often as you like."""
    _job("execute", ctx)


app.command()(annotate)
app.command()(retry)


@app.command()
def report(
    tables: Tables,
    output: Annotated[Path, typer.Option("--out", help="The HTML file to write.")] = Path("report.html"),
    pages: Annotated[int, typer.Option(min=0, help="Pages to show before and after.")] = 5,
    lines: Annotated[int, typer.Option(min=1, help="Most removed lines to list.")] = 30,
) -> None:
    """Write one HTML file about the tables: counts, removed lines, pages before and after."""
    from prox_spark.report import render_html, show

    _needs("pyspark", "spark")
    summaries = importlib.import_module("prox_spark.spark.summaries")
    with log.status("reading the tables"):
        summary = summaries.summarise(_session(), tables, pages=pages, lines=lines)
    show(summary, out)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(render_html(summary), encoding="utf-8")
    out.print(f"\nThe whole report: {escape(str(output))}", soft_wrap=True)


app.command()(diff)
app.command()(maintain)
app.command()(forget)
app.command()(migrate)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="HF_DIR", help="The model as `transformers` saves it.")],
    bundle: Annotated[Path, typer.Argument(metavar="OUT", help="Directory of the bundle to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the bundle; default: the directory's.")] = None,
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "1",
    precision: Annotated[str, typer.Option(help="fp32, int8 (a scale a row), or fp16 (decoders, GPUs).")] = "fp32",
    prompt: Annotated[str, typer.Option(help="prox-chunk, prox-doc, plain-chunk, auto; for models that decode.")] = (
        "prox-chunk"
    ),
    dialect: Annotated[str, typer.Option(help="Of the programs it writes: prox, refinex or ultrax.")] = "prox",
    grammar: Annotated[bool, typer.Option("--grammar", help="Decode by the grammar unless told otherwise.")] = False,
) -> None:
    """Turn a fine-tuned causal LM into a bundle: ONNX graph, tokenizer, refiner.json."""
    _needs("torch", "train")
    exporting = importlib.import_module("prox_spark.training.export")
    options = {"name": name or bundle.name, "version": version, "precision": precision}
    done = exporting.export(model, bundle, **options, prompt=prompt, dialect=dialect, grammar=grammar)
    out.print(done.told(), highlight=False, soft_wrap=True)
    out.print(
        f"Wrote {escape(str(bundle))}. `prox-spark doctor --refiner {escape(str(bundle))}` verifies it.", soft_wrap=True
    )


app.command()(build_data)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe: base model, data, schedule.")],
    data: Annotated[Path | None, typer.Option(help="Labelled pages; default: the recipe's.")] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help="For checkpoints and the result; default: the recipe's.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Another base model: an HF directory of a Llama-type model.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew instead of resuming.")] = False,
) -> None:
    """Fine-tune a refiner by a recipe; a run that was stopped goes on from its last checkpoint."""
    _needs("torch", "train")
    training = importlib.import_module("prox_spark.training.train")
    result = training.train(recipe, out=output, data_path=data, base=base, resume=not fresh)
    out.print(f"Trained: {escape(str(result))}. Next: prox-spark export {escape(str(result))} OUT", soft_wrap=True)


app.command()(evaluate)


@app.command()
def doctor(
    refiner: Annotated[list[str] | None, typer.Option(help="Also verify this bundle.")] = None,
) -> None:
    """Check this machine: Python, Java, Spark, ONNX Runtime, the processor, the bundles."""
    from prox_spark.doctor import examine, print_findings

    if not print_findings(examine(refiner or ()), out):
        raise typer.Exit(UNEXPECTED)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        out.print(f"prox-spark {__version__}", highlight=False)
        raise typer.Exit


def _job(command: Command, ctx: typer.Context) -> None:
    """Run or plan a job from a command's parameters, which carry the names of the settings."""
    from prox_spark.progress import ProgressPrinter, print_plan, print_summary

    settings = settings_from(ctx.params)
    if ctx.params["yes"] and not settings.reconcile:
        raise ConfigError("--yes is for --reconcile: it says that what the source has no more may be deleted")
    _needs("pyspark", "spark")
    jobs = importlib.import_module("prox_spark.spark.job")
    if ctx.params["dry_run"] or (settings.reconcile and not ctx.params["yes"]):
        with log.status("counting"):
            plan = jobs.plan_job(settings, command, spark=_session())
        print_plan(plan, settings, out)
        return
    # A launcher's stderr is full of its own talk; then progress goes where a person is more likely to look.
    with ProgressPrinter(log if log.is_terminal else out) as progress:
        progress.starting()
        summary = jobs.run_job(settings, command, on_progress=progress, spark=_session())
    print_summary(summary, out)


def settings_from(parameters: dict[str, Any]) -> JobSettings:
    """Return a command's parameters as settings; what was not given takes the settings' own default."""
    given = {name: value for name, value in parameters.items() if value not in (None, [], ()) and name not in ASKED}
    guards = {name: given.pop(name) for name in GuardSettings.model_fields if name in given}
    renamed = {"refiner": "refiners", "schema": "source_schema"}
    values = {
        renamed.get(name, name): tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    return job_settings(**values, **({"guards": guards} if guards else {}))


def _session() -> SparkSession:
    session: SparkSession = importlib.import_module("prox_spark.spark.session").get_spark()
    return session


def _needs(package: str, extra: str) -> None:
    """Raise ConfigError with the line to type when a package of an extra is missing."""
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"this command needs {package}, which is not installed. Install it with: pip install 'prox-spark[{extra}]'"
        )


def exit_code(error: ProxError) -> int:
    """Return the exit code for an error that was raised on purpose."""
    if isinstance(error, PreflightError | EndpointError):
        return PREFLIGHT
    if isinstance(error, ErrorBudgetExceeded):
        return ERROR_BUDGET
    return UNEXPECTED if isinstance(error, EngineError | StorageError) else USAGE


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; an error raised on purpose is one message, never a traceback."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. `jobs/` call this with their command's name in front."""
    try:
        result = app(args=list(sys.argv[1:] if arguments is None else arguments), standalone_mode=False)
        return result if isinstance(result, int) else OK
    except typer.Exit as stop:
        return stop.exit_code
    except ProxError as error:
        log.print(f"[bold red]{type(error).__name__}[/]: {escape(str(error))}", soft_wrap=True, highlight=False)
        step = next((text for kind, text in NEXT_STEPS if isinstance(error, kind)), None)
        if step:
            log.print(f"[dim]{escape(step)}[/]", soft_wrap=True, highlight=False)
        return exit_code(error)
    except (KeyboardInterrupt, typer.Abort):
        log.print("Stopped. What was committed stays; the same command goes on from there.")
        return INTERRUPTED
    except Exception as error:
        # click's own usage errors know how to show themselves and which code they exit with.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            return int(error.exit_code)
        raise


if __name__ == "__main__":
    main()
