"""Every way of tuning in one trial: from the trial file to samples, report, footprint and export."""

from __future__ import annotations

import json
import textwrap

import pytest
import torch
from tiny_trials import TRIAL, Lines, make_base
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.planning.model_shape import load_shape
from finetrial.sampling.request_cost import request_cost
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, read_object, read_rows
from finetrial.trial.trial_file import load_trial, parse_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial

ARMS = """\
arms:
  base:
  some: {method: full, targets: [q, v], learning_rate: 1e-2}
  lora: {method: lora, rank: 2, targets: [q, v], learning_rate: 1e-2}
  ia3: {method: ia3, learning_rate: 3e-2}
  vera: {method: vera, rank: 8, learning_rate: 3e-2}
  lily:
    method: peft
    learning_rate: 1e-2
    config: {peft_type: LILY, r: 2, target_modules: [q_proj, v_proj]}
  biases: {method: biases, learning_rate: 1e-2}
"""
TUNED = ("some", "lora", "ia3", "vera", "lily", "biases")

# One file: its pure half, what footprint counts of it, and its torch half.
BIASES = """
from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save_file

from finetrial.footprint.beside import Addition, Beside, Products
from finetrial.footprint.optimizer_bytes import Matrix
from finetrial.methods.learning_rates import lora_learning_rate
from finetrial.methods.method import TunedMethod
from finetrial.methods.model_targets import targeted_modules
from finetrial.methods.torch_half import Attached, Loaded, TorchHalf
from finetrial.models.loading import load_model


@dataclass(frozen=True, kw_only=True)
class BiasVectors(Beside):
    targets: tuple
    layers: tuple | None = None
    words = "biases"

    def on(self, linear, targets):
        trained, products = tuple(t.outputs for t in targets), (Products(),) * len(targets)
        return Addition(trained=trained, stands=(Matrix(1, linear.outputs),), products=products)


class Biases(TunedMethod):
    name = "biases"
    title = "BitFit"
    torch_half = "toy_biases"
    paper_keys = ("targets",)
    targets: tuple[str, ...] = ("q", "v")

    def describe(self, keys):
        return f"the biases of {' and '.join(self.targets)} tuned"

    def default_learning_rate(self, width):
        return lora_learning_rate(width)

    def counted(self):
        return BiasVectors(targets=self.targets)

    @property
    def named_targets(self):
        return self.targets


class BiasHalf(TorchHalf):
    def attach(self, model, *, method, fresh, seed, dtype):
        model.requires_grad_(False)
        for one in targeted_modules(model, targets=method.targets):
            model.get_submodule(one.name).bias.requires_grad_(True)
        return Attached(model, sum(p.numel() for p in model.parameters() if p.requires_grad))

    def save(self, model, *, method, fresh, folder):
        folder.mkdir(parents=True, exist_ok=True)
        trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        save_file(trained, folder / "biases.safetensors")

    def load(self, method, where, *, folder):
        model = load_model(where.base, dtype=where.dtype, **where.source)
        with torch.no_grad():
            for name, value in load_file(folder / "biases.safetensors").items():
                model.get_parameter(name).copy_(value)
        return Loaded(model)


HALF = BiasHalf()
"""


def install(site, *, module="toy_biases", code=BIASES, row="Biases"):
    """Put a package there as an installer does: a module, and a dist-info that names its entry point."""
    info = site / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(textwrap.dedent(code))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[finetrial.methods]\n{module} = {module}:{row}\n")


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A trial on a tiny Llama with biases that compares every way of tuning, run once."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("methods")
    patch = pytest.MonkeyPatch()
    install(base / "site")
    patch.syspath_prepend(str(base / "site"))
    make_base(base)
    tokenizer = AutoTokenizer.from_pretrained(base / "model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        attention_bias=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(base / "model")
    start, end = TRIAL.index("arms:"), TRIAL.index("training:")
    (base / "tiny.yaml").write_text(TRIAL[:start] + ARMS + TRIAL[end:])
    folder, lines = TrialFolder(base / "run"), Lines()
    done = run_trial(TrialContext(load_trial(base / "tiny.yaml"), folder, listener=lines))
    yield base, folder, done, lines.take()
    patch.undo()


def test_every_arm_is_tuned_sampled_and_reported_as_what_it_is(trial):
    _, folder, done, lines = trial
    assert done.failures == {}
    results = json.loads((folder.report / "results.json").read_text())
    described = {name: arm["description"] for name, arm in results["arms"].items()}
    assert described["some"] == "the matrices of q and v tuned, and nothing else"
    assert described["ia3"] == "IA3 on k, v and down" and described["vera"] == "VeRA, rank 8 on q and v"
    assert described["biases"] == "the biases of q and v tuned"
    assert "LILY" in described["lily"] and "not merged" in described["lily"]
    assert {name: arm["kind"] for name, arm in results["arms"].items()} == {
        "base": "base", "some": "full", "lora": "lora", "ia3": "ia3", "vera": "vera", "lily": "peft",
        "biases": "biases",
    }  # fmt: skip
    text = (folder.report / "report.md").read_text().replace("\\_", "_")
    assert all(words in text for words in described.values())
    assert any(line.startswith("lily: adapter: beside the weights") for line in lines)
    base = read_object(folder.measured("base"), Measured)
    for arm in TUNED:
        assert len(list(read_rows(folder.samples(arm), Sample))) == 12
        assert read_object(folder.measured(arm), Measured).heldout_loss < base.heldout_loss


def test_parameters_and_flops_are_what_footprint_counts_on_paper(trial):
    _, folder, _, _ = trial
    measured = {arm: read_object(folder.measured(arm), Measured) for arm in TUNED}
    # two layers, width 32, 64 inside: q and v are 32 x 32 each
    assert {arm: row.trained_parameters for arm, row in measured.items() if arm != "lily"} == {
        "some": 2 * 2 * 32 * 32,
        "lora": 2 * 2 * 2 * (32 + 32),
        "ia3": 2 * (32 + 32 + 64),
        "vera": 2 * 2 * (8 + 32),
        "biases": 2 * 2 * 32,
    }
    flops = {arm: row.flops_total for arm, row in measured.items()}
    # beside the frozen pass: nothing < VeRA's rank 8 without gradients of A and B; LoRA's rank 2; the matrices' own
    assert flops["biases"] < flops["lora"] and flops["biases"] < flops["vera"] and flops["lora"] < flops["some"]


def test_a_request_of_an_arm_that_is_not_merged_costs_what_stands_beside_the_weights(trial):
    base, folder, _, _ = trial
    tokenizer = AutoTokenizer.from_pretrained(base / "model")
    samples = list(read_rows(folder.samples("lily"), Sample))
    read = {sample.prompt_id: len(tokenizer(sample.prompt)["input_ids"]) for sample in samples}
    merged = request_cost(load_shape(base / "model"), samples, prompt_tokens=read)
    measured = read_object(folder.measured("lily"), Measured)
    assert measured.unmerged is not None and measured.request_prompt_tokens == merged.prompt_tokens
    # Lily of rank 2 on two layers' q and v, 32 x 32 each: 32 x 2 in, 2 x 32 out, and 2 x 2 that choose among two
    a_token = 2 * 2 * 2 * (32 * 2 + 2 * 32 + 2 * 2)
    tokens = measured.request_prompt_tokens + measured.request_generated_tokens - 1  # the last is not read again
    assert measured.request_flops - merged.flops == pytest.approx(a_token * tokens)


@pytest.mark.parametrize("arm", ["some", "ia3", "vera", "biases"])
def test_an_arm_is_exported_as_a_model_of_its_own(arm, trial, tmp_path, capsys):
    base, folder, _, _ = trial
    options = ["--folder", str(folder.root), "--out", str(tmp_path / "m")]
    assert dispatch(["export", str(base / "tiny.yaml"), arm, *options]) == 0
    model, start = (AutoModelForCausalLM.from_pretrained(path) for path in (tmp_path / "m", base / "model"))
    ids = torch.arange(1, 20)[None]
    with torch.no_grad():
        assert (model(ids).logits - start(ids).logits).abs().max() > 1e-3
    assert "the model:" in capsys.readouterr().out


def test_an_arm_that_cannot_be_merged_is_exported_as_its_adapter_and_says_so(trial, tmp_path, capsys):
    base, folder, _, _ = trial
    options = ["--folder", str(folder.root), "--out", str(tmp_path / "a"), "--json"]
    assert dispatch(["export", str(base / "tiny.yaml"), "lily", *options]) == 0
    written = json.loads(capsys.readouterr().out)
    assert "cannot be merged" in written["unmerged"]
    assert (tmp_path / "a" / "adapter_config.json").exists() and not (tmp_path / "a" / "config.json").exists()


def test_an_adapter_from_elsewhere_that_cannot_be_merged_answers_and_is_exported_beside_the_weights(
    trial, tmp_path, capsys
):
    base, folder, _, _ = trial
    text = (base / "tiny.yaml").read_text()
    start, end = text.index("arms:"), text.index("training:")
    arms = "arms:\n  base:\n  theirs: {adapter: ./run/arms/lily}\n"
    (base / "foreign.yaml").write_text(text[:start] + arms + text[end:])
    foreign, lines = TrialFolder(tmp_path / "foreign"), Lines()
    done = run_trial(TrialContext(load_trial(base / "foreign.yaml"), foreign, listener=lines))
    assert done.failures == {}
    assert any(line.startswith("theirs: adapter: beside the weights") for line in lines.lines)
    ours, theirs = (
        [(s.prompt_id, s.text) for s in read_rows(at.samples(arm), Sample)]
        for at, arm in ((folder, "lily"), (foreign, "theirs"))
    )
    assert ours == theirs and len(ours) == 12
    assert "cannot be merged" in read_object(foreign.measured("theirs"), Measured).unmerged
    options = ["--folder", str(foreign.root), "--out", str(tmp_path / "a"), "--json"]
    assert dispatch(["export", str(base / "foreign.yaml"), "theirs", *options]) == 0
    assert "cannot be merged" in json.loads(capsys.readouterr().out)["unmerged"]
    assert (tmp_path / "a" / "adapter_config.json").exists() and not (tmp_path / "a" / "config.json").exists()


def test_footprint_counts_every_method_by_its_word(trial, capsys):
    base, _, _, _ = trial
    words = ["full", "matrices:q,v", "lora:2:q,v", "ia3:k,v,down", "vera:8:q,v", "biases:q,v"]
    assert (
        dispatch(["footprint", "compare", *words, "--model", str(base / "model"), "--dtype", "fp32", "--json"]) == 0
    )
    rows = {row["method"]: row["params_stored"] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert list(rows) == words
    assert [rows[word] for word in words[1:]] == [4096, 512, 256, 160, 128]
    question = ["--model", "gpt2", "--length", "128", "--method", "vera", "--rank", "8", "--targets", "q,v"]
    assert dispatch(["footprint", "train", *question, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained_parameters"] == 12 * (8 + 768 + 768)


def test_an_unknown_target_of_any_method_stops_the_check(trial):
    base, _, _, _ = trial
    for arm in ("some", "ia3", "vera", "biases"):
        loaded = load_trial(base / "tiny.yaml", overrides=[f"arms.{arm}.targets=[queries]"])
        with pytest.raises(UserError, match="has no target 'queries'"):
            run_trial(TrialContext(loaded, TrialFolder(base / "other"), listener=Lines(), only=[arm]))


def test_a_key_belongs_to_the_methods_that_have_it(trial):
    text = "trial: t\nmodel: m\ndata: {source: a/b}\narms:\n  x: {method: full, rank: 3}\n"
    with pytest.raises(UserError, match="`rank` belongs to arms with method vera or lora"):
        parse_trial(text, origin="t.yaml")
    with pytest.raises(UserError, match=r"line 5: arms.x.config: needs a `peft_type`"):
        parse_trial(text.replace("method: full, rank: 3", "method: peft, config: {r: 3}"), origin="t.yaml")


def test_a_package_whose_method_cannot_be_had_is_named(tmp_path, monkeypatch):
    install(tmp_path, module="broken_method", code="1 / 0", row="X")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "trial: t\nmodel: m\ndata: {source: a/b}\narms:\n  x: {method: unheard_of}\n"
    with pytest.raises(UserError, match=r"the method broken_method of broken_method 1.0 cannot be loaded"):
        parse_trial(text, origin="t.yaml")
