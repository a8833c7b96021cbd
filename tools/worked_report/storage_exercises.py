"""Write the exercises on what copies of a tuned model weigh, and which rank weighs the same elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from finetrial.footprint.adapters import Full, Matrices, Method, trained_parameters
from finetrial.footprint.beside import Lora
from finetrial.footprint.estimates import rank as largest_rank
from finetrial.footprint.explain import explain_parameters, explain_rank, explain_storage
from finetrial.footprint.stored_bytes import Storage as Stored
from finetrial.footprint.stored_bytes import bytes_per_param
from finetrial.footprint.stored_bytes import storage as stored_as
from finetrial.footprint.structure import Shape
from finetrial.planning.model_shape import load_shape
from finetrial.reporting.document import (
    Block,
    Fact,
    Facts,
    Heading,
    Notice,
    Paragraph,
    Section,
    Table,
    TableCell,
    TableRow,
)
from finetrial.units import format_bytes, listing
from worked_report.inputs import Storage
from worked_report.scaling_exercises import LEAVES_OUT
from worked_report.steps import storage_equations

# Roles of matrices in words; other names are the modules' own.
_WORDS = {"q": "query", "k": "key", "v": "value", "o": "output"}


def _named(targets: tuple[str, ...]) -> str:
    return listing([_WORDS.get(name, name) for name in targets])


def _ways(given: Storage) -> tuple[tuple[str, Method], ...]:
    names = _named(given.matrices)
    return (
        ("in full", Full()),
        (f"the {names} matrices", Matrices(targets=given.matrices)),
        (f"LoRA of rank {given.rank} on {names}", Lora(rank=given.rank, targets=given.matrices)),
    )


def _row(head: str, stored: Stored, *, whole: Stored) -> TableRow:
    share = stored.bytes_per_copy / whole.bytes_per_copy
    return TableRow(
        head,
        (
            TableCell(f"{stored.params_stored:,}"),
            TableCell(format_bytes(stored.bytes_per_copy, digits=5), (f"{stored.bytes_per_copy:,} bytes",)),
            TableCell(format_bytes(stored.bytes_total, digits=4), (f"{stored.bytes_total:,} bytes",)),
            TableCell(f"1/{1 / share:,.0f}" if share < 0.01 else f"{100 * share:.4g}\u00a0%"),
        ),
    )


def _copies(given: Storage, shape: Shape) -> Iterator[Block]:
    yield Paragraph(
        f"{given.copies} tasks each get a {shape.name} of their own in {given.dtype}. What do {given.copies} "
        "copies take: of the whole model, of the matrices that were tuned, of adapters?"
    )
    rows = []
    whole = stored_as(trained_parameters(shape, method=Full()), dtype=given.dtype, copies=given.copies)
    for words, method in _ways(given):
        stored = stored_as(trained_parameters(shape, method=method), dtype=given.dtype, copies=given.copies)
        steps = explain_parameters(shape, method=None if isinstance(method, Full) else method)
        steps += explain_storage(stored)
        yield Heading(words[0].upper() + words[1:])
        if isinstance(method, Full) and shape.published is not None:
            published = stored_as(shape.published.params, dtype=given.dtype, copies=given.copies)
            steps += explain_storage(published, of="as published", source=shape.published.source)
            rows.append(_row("In full, as published", published, whole=whole))
            rows.append(_row("In full, as counted", stored, whole=whole))
        else:
            rows.append(_row(words[0].upper() + words[1:], stored, whole=whole))
        yield storage_equations(steps)
    yield Table(
        "storage",
        "What is stored for a task",
        ("Parameters", "One copy", f"{given.copies} copies", "Of the whole, as counted"),
        tuple(rows),
        "GiB and TiB are powers of 1024. What is counted follows from the shape, what is published is rounded.",
        title="The figures",
    )
    yield Notice(
        (
            f"Matrices and adapters stand on one copy of the base, which all tasks share: "
            f"{format_bytes(whole.bytes_per_copy)} more, once.",
            "Training takes more than storing: gradients, the optimizer’s states, activations.",
            "Less storage says nothing of quality: whether an adapter does a task is a question to a trial.",
        ),
        title=LEAVES_OUT,
    )


def _same_bytes(given: Storage, shape: Shape) -> Iterator[Block]:
    adapter = Lora(rank=given.rank, targets=given.matrices)
    answer = largest_rank(shape, targets=given.alone, same_as=adapter, dtype=given.dtype)
    alone = _named(given.alone)
    yield Paragraph(
        f"Which rank does LoRA have on {alone} alone, if it may take as many bytes as rank {given.rank} on "
        f"{_named(given.matrices)}: {answer.budget_bytes:,}?"
    )
    size = bytes_per_param(given.dtype)
    yield storage_equations(explain_rank(shape, targets=given.alone, bytes_per_param=size, answer=answer))
    next_one = "no rank above it would add anything"
    if answer.next_rank_bytes is not None:
        next_one = f"rank {answer.rank + 1} would take {answer.next_rank_bytes:,}"
    yield Facts((Fact("Rank", f"{answer.rank}, which takes {answer.bytes_per_copy:,} bytes; {next_one}"),))
    yield Notice(
        (
            "Equal bytes are not equal models. One adapter changes fewer matrices by more directions; which of the "
            "two does a task better, no count of bytes says.",
            *given.leaves_out,
        ),
        title=LEAVES_OUT,
    )


def storage_sections(given: Storage) -> tuple[Section, ...]:
    """The two exercises."""
    shape = load_shape(given.model)
    alone = _named(given.alone)
    return (
        Section("storage", f"{given.copies} copies of {shape.name}", tuple(_copies(given, shape))),
        Section("rank", f"The rank of equal bytes on {alone}", tuple(_same_bytes(given, shape))),
    )
