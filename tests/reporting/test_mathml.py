"""The LaTeX of this project's derivations becomes MathML, and no other LaTeX does."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from worked_report.steps import scaling_equations, storage_equations

from finetrial.footprint.adapters import Matrices
from finetrial.footprint.beside import Lora
from finetrial.footprint.explain import explain_parameters, explain_rank, explain_storage
from finetrial.footprint.shapes import named_shape, shape_names
from finetrial.footprint.stored_bytes import largest_rank, storage
from finetrial.reporting.document import Equations, Formula
from finetrial.reporting.render.mathml import mathml
from finetrial.scaling.allocation import at_same_cost
from finetrial.scaling.published_laws import PRETRAINING_LAWS
from finetrial.scaling.repeated_data import rule_by_name
from finetrial.scaling.target_loss import Outcome, reach, train
from finetrial.scaling.worked_steps import explain_epochs, explain_loss, explain_tokens


def read(latex: str) -> ElementTree.Element:
    return ElementTree.fromstring(str(mathml(Formula("", latex))))


def words(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


def test_a_fraction_a_power_and_an_index_stand_where_they_belong():
    row = read(r"E + \frac{A}{N^{\alpha}} + d_\mathrm{in}")
    assert [child.tag for child in row] == ["mi", "mo", "mfrac", "mo", "msub"]
    over, under = row[2]
    assert words(over) == "A"
    assert under[0].tag == "msup" and [words(part) for part in under[0]] == ["N", "α"]
    assert [words(part) for part in row[4]] == ["d", "in"]


def test_numbers_keep_their_commas_and_primes_stand_above():
    row = read(r"37{,}748{,}736 \times 2.5")
    assert [(child.tag, child.text) for child in row] == [("mn", "37,748,736"), ("mo", "×"), ("mn", "2.5")]
    assert [(child.tag, words(child)) for child in read("D''")] == [("msup", "D′′")]


def test_words_stay_words_whatever_they_are():
    hostile = r"\text{<b> \frac \alpha 5\_6 & x}"
    (text,) = read(hostile)
    assert text.tag == "mtext" and text.text == "<b> frac alpha 5_6 & x"
    assert "<b>" not in str(mathml(Formula("", hostile)))


@pytest.mark.parametrize(
    "latex", [r"\frac{a}", r"\sqrt{2}", "a}", r"\left(a", r"\input{secret}", r"\frac a b", "{", r"\right)", "&"]
)
def test_other_latex_is_refused_and_never_half_read(latex):
    with pytest.raises(ValueError, match="formula"):
        mathml(Formula("", latex))


def check(equations: Equations) -> int:
    for row in equations.rows:
        for side in (row.left, *row.right):
            read(side.latex)
    return len(equations.rows)


def test_every_formula_of_a_scaling_derivation_is_read():
    seen = 0
    for law in PRETRAINING_LAWS.values():
        for name in ("none", "halving", "muennighoff2023"):
            rule = rule_by_name(name)
            before = train(law, params=67e9, tokens=4.1e12, unique_tokens=4.1e12, rule=rule)
            after = reach(law, params=67e9, loss=0.999 * before.loss, unique_tokens=4.1e12, rule=rule)
            assert isinstance(after, Outcome)
            same = at_same_cost(law, outcome=after, flops=after.flops_effective, rule=rule)
            for derivation in (
                explain_loss(law, outcome=after, rule=rule),
                explain_tokens(law, before=before, improve=0.001, after=after, rule=rule),
                explain_epochs(law, outcome=same.larger, rule=rule, best=same.best, flops=after.flops_effective),
            ):
                seen += check(scaling_equations(derivation.steps))
    assert seen > 15 * len(PRETRAINING_LAWS)


def test_every_formula_of_a_storage_derivation_is_read():
    seen = 0
    for name in shape_names():
        shape = named_shape(name)
        for method in (None, Matrices(targets=("q", "v")), Lora(rank=4, targets=("q", "v"))):
            seen += check(storage_equations(explain_parameters(shape, method=method)))
        answer = largest_rank(shape, targets=("q",), budget_bytes=10**9)
        seen += check(storage_equations(explain_rank(shape, targets=("q",), bytes_per_param=2, answer=answer)))
    seen += check(storage_equations(explain_storage(storage(175e9, copies=100))))
    assert seen > 10 * len(shape_names())
