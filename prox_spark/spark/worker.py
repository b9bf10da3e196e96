"""A refiner in a Python worker: one load a process, the task's GPU, and no text that ends the job."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pyspark import TaskContext

from prox_spark.config import GrammarMode
from prox_spark.errors import BundleError, ConfigError, DeviceError
from prox_spark.program.languages import primary_language
from prox_spark.program.programs import DocumentPrograms
from prox_spark.program.scores import dropped_from
from prox_spark.program.strict import drops_document
from prox_spark.refiner import Refiner
from prox_spark.refiner.budget import NO_BOUND, Budget, describe, of_a_text
from prox_spark.text.language import identify

# These are no text's fault: the task fails, Spark tries it elsewhere, and in the end the job says why.
FATAL = (BundleError, ConfigError, DeviceError)
GROUP_DOCUMENTS = 64
GROUP_CHARS = 2_000_000
# Documents that wait for their turn while others in front of them are with a refiner.
MAX_WAITING = 512

# Refiners of this process, which Spark keeps for the next tasks: (fingerprint, device, grammar) -> refiner.
_LOADED: dict[tuple[str, str, str], Refiner] = {}


class _SourceError(Exception):
    """What reading the next text raised, as its cause: the fault of no text and of no refiner, so the task fails."""


def load_refiners(
    paths: tuple[str, ...],
    fingerprints: tuple[str, ...],
    device: str,
    budget: Budget = NO_BOUND,
    grammar: GrammarMode = "auto",
) -> list[Refiner]:
    """Return this process's refiners, loaded at first use; raises BundleError where a worker has another bundle.

    budget: what each of them may take for one document. grammar: as in `Refiner.load`.
    """
    name, device_id, threads = task_device(device)
    keys = [(fingerprint, f"{name}:{device_id}", grammar) for fingerprint in fingerprints]
    for old in set(_LOADED).difference(keys):
        del _LOADED[old]  # a session that compares refiners would hold all of them, caches included
    refiners = []
    for path, fingerprint, key in zip(paths, fingerprints, keys, strict=True):
        if key not in _LOADED:
            refiner = Refiner.load(path, name, device_id=device_id, threads=threads, grammar=grammar)
            if refiner.fingerprint != fingerprint:
                raise BundleError(
                    f"{path} on this worker is another bundle than on the driver: "
                    f"fingerprint {refiner.fingerprint[:12]}, expected {fingerprint[:12]}"
                )
            _LOADED[key] = refiner
        _LOADED[key].budget = budget
        refiners.append(_LOADED[key])
    return refiners


def task_device(device: str) -> tuple[str, int | None, int | None]:
    """Return device, GPU address and CPU threads for a refiner in this task.

    `auto` takes the GPU that Spark gave the task, and the CPU where it gave none: a task that helped itself would share
    GPU 0 with all others. `cuda` without an address is an error; `cuda:N` names the GPU whatever Spark says.
    """
    context = TaskContext.get()
    gpu = context.resources().get("gpu") if context is not None else None
    threads = context.cpus() if context is not None else None
    if gpu is not None and gpu.addresses and device in ("auto", "cuda"):
        return "cuda", int(gpu.addresses[0]), threads
    if device == "cuda":
        raise DeviceError(
            "device cuda was asked for, and Spark gave this task no GPU: set spark.executor.resource.gpu.amount and "
            "spark.task.resource.gpu.amount, or name the GPU on a machine that is all yours: --device cuda:0"
        )
    return ("cpu" if device == "auto" else device), None, threads


def write_all(refiners: list[Refiner], texts: Iterable[str]) -> Iterator[DocumentPrograms]:
    """Yield the texts' programs in order; with two refiners, what the first drops never reaches the second."""
    if len(refiners) == 1:
        yield from write_safely(refiners[0], texts)
        return
    for group in _groups(texts):
        yield from _write_both(refiners[0], refiners[1], group)


def write_known(
    refiners: list[Refiner], texts: Iterable[str], languages: tuple[str, ...]
) -> Iterator[DocumentPrograms]:
    """Yield the texts' programs in order; a text in another language than these reaches no refiner.

    A text whose language is not certain is taken for one of these; one that the identifier fails on gets an error row.
    No languages: nothing is identified. Raises ConfigError where the identifier cannot be had.
    """
    if not languages:
        yield from write_all(refiners, texts)
        return
    known = {primary_language(language) for language in languages}
    source = iter(texts)
    # In the order of the texts: what is known of each; None as programs: they are to come from the refiners.
    waiting: deque[tuple[str | None, DocumentPrograms | None]] = deque()
    ended = False

    def feed() -> Iterator[str]:
        nonlocal ended
        for text in source:
            language, programs = _identified(text, known)
            waiting.append((language, programs))
            if programs is None:
                yield text
            elif len(waiting) >= MAX_WAITING:
                return  # what waits is handed on before more of a long row of other languages is read
        ended = True

    while not ended:
        for programs in write_all(refiners, feed()):
            yield from _passed_over(waiting)
            yield replace(programs, language=waiting.popleft()[0])
        yield from _passed_over(waiting)


def _identified(text: str, known: set[str]) -> tuple[str | None, DocumentPrograms | None]:
    """The text's language, and its programs if no refiner is to be asked."""
    try:
        language = identify(text)
    except FATAL:
        raise
    except BaseException as error:
        if not of_a_text(error):
            raise
        return None, DocumentPrograms(None, (), error=describe(error))
    asked = language is None or primary_language(language) in known
    return language, None if asked else DocumentPrograms(None, (), language=language)


def _passed_over(waiting: deque[tuple[str | None, DocumentPrograms | None]]) -> Iterator[DocumentPrograms]:
    """Take what stands before the next text that a refiner was asked about."""
    while waiting and (programs := waiting[0][1]) is not None:
        waiting.popleft()
        yield programs


def write_safely(refiner: Refiner, texts: Iterable[str]) -> Iterator[DocumentPrograms]:
    """Yield the texts' programs in order, whatever the refiner does: a text that makes it raise gets an error row.

    A refiner reads ahead; when it raises, the texts that it still owes are tried one by one, then it starts afresh.
    What the texts' own iterator raises is raised.
    """
    source = iter(texts)
    owed: deque[str] = deque()

    def feed() -> Iterator[str]:
        try:
            for text in source:
                owed.append(text)
                yield text
        except Exception as error:
            raise _SourceError(str(error)) from error

    while True:
        try:
            for programs in refiner.write(feed()):
                owed.popleft()
                yield programs
        except _SourceError as error:
            raise (error.__cause__ or error) from None
        except FATAL:
            raise
        except BaseException as error:
            if not of_a_text(error):
                raise
        if not owed:
            try:
                owed.append(next(source))
            except StopIteration:
                return
        while owed:
            yield _write_one(refiner, owed.popleft())


def _write_one(refiner: Refiner, text: str) -> DocumentPrograms:
    try:
        return next(iter(refiner.write([text])))
    except FATAL:
        raise
    except StopIteration:
        return DocumentPrograms(None, (), error="the refiner wrote nothing for this document")
    except BaseException as error:
        if not of_a_text(error):
            raise
        return DocumentPrograms(None, (), error=describe(error))


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if len(group) >= GROUP_DOCUMENTS or size >= GROUP_CHARS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _write_both(first: Refiner, second: Refiner, texts: list[str]) -> Iterator[DocumentPrograms]:
    by_document = list(write_safely(first, texts))
    kept = [n for n, programs in enumerate(by_document) if not _dropped(first, programs)]
    by_chunk = dict(zip(kept, write_safely(second, [texts[n] for n in kept]), strict=True))
    for n, programs in enumerate(by_document):
        yield _joined(programs, by_chunk[n]) if n in by_chunk else programs


def _dropped(refiner: Refiner, programs: DocumentPrograms) -> bool:
    """Whether no caution could keep the document, or it failed: then nothing is asked of the second refiner."""
    if programs.error is not None:
        return True
    highest = dropped_from(refiner.thresholds.values())
    if programs.doc_score is not None and highest is not None:
        return programs.doc_score >= highest
    return programs.doc_program is not None and drops_document(programs.doc_program)


def _joined(document: DocumentPrograms, chunks: DocumentPrograms) -> DocumentPrograms:
    return DocumentPrograms(
        document.doc_program,
        chunks.chunks,
        doc_score=document.doc_score,
        error=chunks.error,
        doc_prompt_tokens=document.prompt_tokens + chunks.doc_prompt_tokens,
        doc_new_tokens=document.new_tokens + chunks.doc_new_tokens,
    )
