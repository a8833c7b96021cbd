"""Mistakes that people make, planted one at a time in a small trial that is right without them.

Each is a name, and a function that is given the trial's folder and the text of its trial file, plants the mistake,
and returns the text. An arm that the mistake stands in is named before a colon: `mine: no such folder`.
"""

import json
import shutil

from safetensors import safe_open
from safetensors.torch import save_file

TRIAL = """\
trial: tiny
model: ./model
data:
  source: rows.jsonl
  max_tokens: 64
  validation: 4
  heldout: 6
arms:
  base: {}
  lora: {method: lora, rank: 2, targets: [q, v]}
training: {epochs: 1, batch_tokens: 256, precision: float32, evaluations: 1}
sampling: {prompts: 4, max_new_tokens: 4, per_prompt: 1, temperature: 0}
judging: {metrics: [rouge1], grade_prompts: 0}
"""


def _replaced(old, new):
    def plant(_, text):
        assert old in text, old
        return text.replace(old, new)

    return plant


def _text(new):
    return lambda base, text: new


def _bytes(content):
    def plant(base, text):
        (base / "trial.yaml").write_bytes(content)

    return plant


def _set(section, setting):
    """A setting added to an inline section of the trial file."""
    return lambda base, text: text.replace(f"{section}: {{", f"{section}: {{{setting}, ")


def _data(line):
    return lambda base, text: text.replace("  validation: 4\n", f"  validation: 4\n  {line}\n")


def _arm(keys):
    return lambda base, text: text.replace("training:", f"  mine: {{{keys}}}\ntraining:", 1)


FILE = {
    "no such file": lambda base, text: (base / "trial.yaml").unlink(),
    "empty file": _text(""),
    "a list": _text("- a\n- b\n"),
    "not YAML": _replaced("arms:\n", "arms: [\n"),
    "a tab": _replaced("  source:", "\tsource:"),
    "not UTF-8": _bytes(b"trial: caf\xe9\n"),
    "trial missing": _replaced("trial: tiny\n", ""),
    "model missing": _replaced("model: ./model\n", ""),
    "model empty": _replaced("./model", "''"),
    "model a list": _replaced("./model", "[a, b]"),
    "a name with a slash": _replaced("trial: tiny", "trial: a/b"),
    "data a word": lambda base, text: text[: text.index("data:")] + "data: rows.jsonl\narms: {base: {}}\n",
    "source missing": _replaced("  source: rows.jsonl\n", ""),
    "no arms": lambda base, text: text[: text.index("arms:")] + "arms: {}\n",
    "arms a list": lambda base, text: text[: text.index("arms:")] + "arms: [base, lora]\n",
    "an arm with a space": _replaced("  base: {}", "  my base: {}"),
    "an arm that is a word": _replaced("base: {}", "base: yes please"),
    "unknown section": _replaced("training:", "trainning:"),
    "unknown data key": _data("heldouts: 3"),
    "a key twice": _data("heldout: 7"),
    "validation of no rows": _replaced("validation: 4", "validation: 0"),
    "negative max_tokens": _replaced("max_tokens: 64", "max_tokens: -1"),
    "max_tokens a word": _replaced("max_tokens: 64", "max_tokens: many"),
    "unknown format": _data("format: alpaca"),
    "unknown overlong": _data("overlong: truncate"),
    "text format with a bad unit": _data("format: {text: {unit: sentence}}"),
    "a chat of running text": lambda base, text: _data("format: text\n  chat: always")(base, text),
    "system without a chat": _data("system: Be brief.\n  chat: never"),
    "unknown training key": _set("training", "lr: 0.1"),
    "no epochs": _replaced("epochs: 1", "epochs: 0"),
    "negative epochs": _replaced("epochs: 1", "epochs: -2"),
    "unknown schedule": _set("training", "schedule: cosinus"),
    "warm-up of all steps": _set("training", "warmup: 1"),
    "unknown optimizer": _set("training", "optimizer: adam"),
    "unknown precision": _replaced("precision: float32", "precision: fp8"),
    "rate a word": _set("training", "learning_rate: fast"),
    "rate of zero": _set("training", "learning_rate: 0"),
    "rate that is no number": _set("training", "learning_rate: .nan"),
    "no seeds": _set("training", "seeds: 0"),
    "unknown tracker": _set("training", "trackers: [tensorbord]"),
    "tracker not installed": _set("training", "trackers: [mlflow]"),
    "unknown sampling key": _set("sampling", "top_q: 0.9"),
    "no prompts": _replaced("prompts: 4,", "prompts: 0,"),
    "negative temperature": _replaced("temperature: 0", "temperature: -0.5"),
    "top_p above one": _set("sampling", "top_p: 1.5"),
    "greedy with three samples": _replaced("per_prompt: 1", "per_prompt: 3"),
    "a stop that is no list": _set("sampling", "stop: END"),
    "an empty stop": _set("sampling", "stop: ['']"),
    "unknown engine": _set("sampling", "engine: vlm"),
    "unknown judging key": _set("judging", "metric: rouge1"),
    "negative margin": _set("judging", "margin: -0.1"),
    "unknown metric": _replaced("[rouge1]", "[rouge1, rogue2]"),
    "unknown primary": _set("judging", "primary: rouge"),
    "one label": _set("judging", "scale: {labels: [a], good: [a]}"),
    "every label good": _set("judging", "scale: {labels: [a, b], good: [a, b]}"),
    "unknown scale": _set("judging", "scale: 1-7"),
    "no raters": _set("judging", "raters: 0"),
    "negative price": lambda base, text: text + "prices: {hour: -1}\n",
    "unknown report key": lambda base, text: text + "report: {name: x}\n",
}

ARMS = {
    "mine: unknown method": _arm("method: loraa"),
    "mine: unknown key": _arm("method: lora, ranks: 3"),
    "mine: a key of another method": _arm("method: full, rank: 3"),
    "mine: rank zero": _arm("method: lora, rank: 0"),
    "mine: dropout of all": _arm("method: lora, dropout: 1"),
    "mine: no targets": _arm("method: lora, targets: []"),
    "mine: targets a number": _arm("method: lora, targets: 3"),
    "mine: unknown target": _arm("method: lora, targets: [query]"),
    "mine: a matrix twice": _arm("method: lora, targets: [q, c_attn]"),
    "mine: a target of another model": _arm("method: ia3, targets: [gate]"),
    "mine: four bits on a CPU": _arm("method: lora, quantize: nf4"),
    "mine: prompted with nothing": _arm("method: prompted"),
    "mine: base with shots": _arm("method: base, shots: 3"),
    "mine: no shots": _arm("shots: 0"),
    "mine: more shots than rows": _arm("shots: 500"),
    "mine: shots that do not fit": _arm("shots: 12"),
    "mine: rate of an arm that is not tuned": _arm("shots: 1, learning_rate: 0.1"),
    "mine: template and prompt file": _arm("template: '{prompt}', prompt_file: p.txt"),
    "mine: no prompt file": _arm("prompt_file: gone.txt"),
    "mine: an unknown column": _arm("template: '{titel}'"),
    "mine: a template without a column": _arm("template: Hello"),
    "mine: an open brace": _arm("template: '{prompt} {'"),
    "mine: a chat without a template": _arm("method: full, chat: always"),
    "mine: system without a template": _arm("method: full, system: Be brief."),
    "mine: external with two sources": _arm("adapter: ./a, model: ./b"),
    "mine: external with none": _arm("method: external"),
    "mine: unknown peft type": _arm("method: peft, config: {peft_type: LORRA}"),
    "mine: unknown peft setting": _arm("method: peft, config: {peft_type: LOHA, rank: 4}"),
    "mine: peft without a type": _arm("method: peft, config: {r: 4}"),
    "mine: peft on no module": _arm("method: peft, config: {peft_type: LOHA, r: 2, target_modules: [queries]}"),
    "mine: a prompt that peft learns": _arm("method: peft, config: {peft_type: PREFIX_TUNING}"),
}


def _rows(change):
    """The rows of the data file, changed."""

    def plant(base, text):
        path = base / "rows.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        changed = change(rows)
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in changed or rows))
        return text

    return plant


def _file(name, content, line=""):
    """Another data file, and a line of the trial file that goes with it."""

    def plant(base, text):
        (base / name).write_bytes(content)
        return _data(line)(base, text.replace("rows.jsonl", name))

    return plant


def _chats(*turns):
    """The rows as chats with these turns."""
    rows = _rows(lambda given: [{"messages": list(turns)} for _ in given])
    return lambda base, text: _data("format: messages")(base, rows(base, text))


def _two_files(base, text):
    shutil.copy(base / "rows.jsonl", base / "more.jsonl")
    return text.replace("rows.jsonl", "{train: rows.jsonl, heldout: more.jsonl}")


DATA = {
    "no such data": _replaced("rows.jsonl", "gone.jsonl"),
    "no such split": _replaced("rows.jsonl", "{train: rows.jsonl, heldout: gone.jsonl}"),
    "no such kind": _file("rows.xlsx", b"PK"),
    "an empty data file": _file("none.jsonl", b""),
    "not JSON": _rows(lambda rows: [*rows, "{'prompt': 'a'}"]),
    "a row that is a list": _rows(lambda rows: [*rows, "[1, 2]"]),
    "NaN in a row": _rows(lambda rows: [*rows, '{"prompt": NaN, "completion": "a"}']),
    "one document named JSON Lines": _file("one.jsonl", b'[\n{"prompt": "a", "completion": "b"}\n]\n'),
    "a JSON object": _file("rows.json", b'{"prompt": "a"}'),
    "a quote that is not closed": _file("q.csv", b'prompt,completion\n"a,b\nc,d\n'),
    "a field too many": _file("w.csv", b"prompt,completion\na,b\nc,d,e\n"),
    "a column twice": _file("t.csv", b"prompt,prompt\na,b\n"),
    "Latin-1": _file("l.csv", b"prompt,completion\ncaf\xe9,a\n"),
    "no Parquet": _file("p.parquet", b"PAR0"),
    "unknown columns": _rows(lambda rows: [{"frage": r["prompt"], "antwort": r["completion"]} for r in rows]),
    "two ways to read": _rows(lambda rows: [r | {"response": "x", "question": "y", "answer": "z"} for r in rows]
                              and [{"question": "y", "answer": "z", "query": "a", "response": "x"}] * 30),
    "a named column that is not there": _data("prompt: text\n  completion: label"),
    "a prompt that is a list": _rows(lambda rows: [*rows, {"prompt": ["a"], "completion": "b"}]),
    "a row without its key": _rows(lambda rows: [*rows, {"prompt": "a"}]),
    "an empty completion": _rows(lambda rows: [*rows, {"prompt": "a", "completion": " "}]),
    "an empty prompt": _rows(lambda rows: [*rows, {"prompt": "", "completion": "b"}]),
    "no reference in the list": _rows(lambda rows: [*rows, {"prompt": "a", "completion": []}]),
    "no chats": _data("format: messages"),
    "a chat without an answer": _chats({"role": "user", "content": "a"}),
    "a turn without text": _chats({"role": "user"}, {"role": "assistant", "content": "a"}),
    "a prompt that is its completion": _rows(lambda rows: [r | {"completion": r["prompt"]} for r in rows]),
    "an empty slice": _replaced("rows.jsonl", "rows.jsonl[90:95]"),
    "a slice of words": _replaced("rows.jsonl", "rows.jsonl[a:b]"),
    "more rows than there are": _data("train: 4000"),
    "more held out than there are": _replaced("heldout: 6", "heldout: 600"),
    "more prompts than are held out": _replaced("prompts: 4,", "prompts: 400,"),
    "prompts in two splits": _two_files,
    "no such group": _data("group: customer"),
    "a row that is too long": _rows(lambda rows: [*rows, {"prompt": "cat " * 300, "completion": "dog"}]),
    "an answer beyond the context": _replaced("max_new_tokens: 4", "max_new_tokens: 126"),
    "no other text": _data("retain: gone.txt"),
    "too little running text": _file("s.txt", b"one\ntwo\n", "format: text"),
    "two rows": _rows(lambda rows: rows[:2]),
}  # fmt: skip


def _metric(source, name="own.py:score"):
    def plant(base, text):
        (base / "own.py").write_text(source)
        return text.replace("[rouge1]", f"[rouge1, '{name}']")

    return plant


METRICS = {
    "no metric file": _replaced("[rouge1]", "[rouge1, 'gone.py:score']"),
    "no function named": _metric("def score(text, references): return 1", "own.py"),
    "no such function": _metric("def scor(text, references): return 1"),
    "a syntax error": _metric("def score(:\n"),
    "a module that is not there": _metric("import nonesuch\n"),
    "a file that exits": _metric("raise SystemExit(0)"),
    "a function that fails": _metric("def score(text, references): return text[10_000]"),
    "a function that exits": _metric("def score(text, references): raise SystemExit(3)"),
    "a function of one argument": _metric("def score(text): return 1"),
    "a function that returns text": _metric("def score(text, references): return 'good'"),
    "a function that returns infinity": _metric("def score(text, references): return float('inf')"),
    "too few values": _metric("def score(texts, references): return []"),
}


def _config(**changes):
    return lambda folder: _json(folder / "config.json", lambda content: content | changes)


def _json(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def _written(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def _cut(name):
    def change(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return change


def _emptied(folder):
    for path in folder.iterdir():
        path.unlink()


def _without(pattern):
    def change(folder):
        assert list(folder.glob(pattern))
        for path in folder.glob(pattern):
            path.unlink()

    return change


def _pickled(name):
    def change(folder):
        (folder / name).rename((folder / name).with_suffix(".bin"))

    return change


def _of_kind(kind, **settings):
    return _written("config.json", json.dumps({"model_type": kind, **settings}).encode())


_LLAMA = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 400}

MODEL_FILES = {
    "no folder": shutil.rmtree,
    "an empty folder": _emptied,
    "no configuration": _without("config.json"),
    "a configuration that is no JSON": _written("config.json", b"{"),
    "a configuration that is a list": _written("config.json", b"[]"),
    "no model type": _written("config.json", b"{}"),
    "an unknown model type": _config(model_type="nonesuch"),
    "a width in words": _config(n_embd="wide"),
    "another width": _config(n_embd=64),
    "another vocabulary": _config(vocab_size=10),
    "more layers than weights": _config(n_layer=3),
    "no layers": _config(n_layer=0),
    "heads that do not divide the width": _config(n_head=5),
    "heads that do not divide Llama's width": _of_kind("llama", num_attention_heads=5, **_LLAMA),
    "keys that no head can share": _of_kind("llama", num_attention_heads=4, num_key_value_heads=3, **_LLAMA),
    "an encoder-decoder": _of_kind("t5"),
    "another encoder-decoder": _of_kind("bart"),
    "an encoder": _of_kind("bert"),
    "a model of images": _of_kind("vit"),
    "code of its own": _config(auto_map={"AutoModelForCausalLM": "mine.Model"}),
    "no weights": _without("*.safetensors"),
    "weights that are cut short": _cut("model.safetensors"),
    "weights of no bytes": _written("model.safetensors", b""),
    "weights that are text": _written("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
    "pickles": _pickled("model.safetensors"),
    "no tokenizer": _without("tokenizer*"),
    "a tokenizer that is no JSON": _written("tokenizer.json", b"{"),
}


def _broken_model(change, *, external):
    def plant(base, text):
        folder = base / ("theirs" if external else "model")
        if external:
            shutil.copytree(base / "model", folder)
        change(folder)
        return _arm("model: ./theirs")(base, text) if external else text

    return plant


def _other_tensors(folder):
    """Weights under names that the adapter's configuration does not lead to."""
    path = folder / "adapter_model.safetensors"
    with safe_open(str(path), "pt") as opened:
        tensors = {name.replace("c_attn", "c_other"): opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(tensors, str(path))


def _adapter(**changes):
    return lambda folder: _json(folder / "adapter_config.json", lambda content: content | changes)


ADAPTER_FILES = {
    "no folder": shutil.rmtree,
    "an empty folder": _emptied,
    "no configuration": _without("adapter_config.json"),
    "a configuration that is no JSON": _written("adapter_config.json", b"{"),
    "a configuration that is a list": _written("adapter_config.json", b"[]"),
    "no type": _adapter(peft_type=None),
    "an unknown type": _adapter(peft_type="LORRA"),
    "another rank": _adapter(r=7),
    "a rank in words": _adapter(r="seven"),
    "modules that are not there": _adapter(target_modules=["q_proj"]),
    "modules that it has no weights for": _adapter(target_modules=["c_attn", "c_fc"]),
    "weights of other modules": _other_tensors,
    "no weights": _without("*.safetensors"),
    "pickles": _pickled("adapter_model.safetensors"),
    "weights that are cut short": _cut("adapter_model.safetensors"),
    "weights of no bytes": _written("adapter_model.safetensors", b""),
}


def _broken_adapter(change):
    def plant(base, text):
        change(base / "adapter")
        return _arm("adapter: ./adapter")(base, text)

    return plant


MODELS = {
    **{f"model: {name}": _broken_model(change, external=False) for name, change in MODEL_FILES.items()},
    **{f"mine: model with {name}": _broken_model(change, external=True) for name, change in MODEL_FILES.items()},
    **{f"mine: adapter with {name}": _broken_adapter(change) for name, change in ADAPTER_FILES.items()},
    "an adapter named as the model": _replaced("model: ./model", "model: ./adapter"),
    "mine: a model named as an adapter": _arm("adapter: ./model"),
    "mine: an adapter named as a model": _arm("model: ./adapter"),
    "no GGUF file": _replaced("./model", "./gone.gguf"),
    "a GGUF file of text": lambda base, text: (
        (base / "a.gguf").write_text("hello") and text.replace("./model", "./a.gguf")
    ),
}
PLANTED = {**FILE, **ARMS, **DATA, **METRICS, **MODELS}

# Of `check` itself; {trial} is the trial file.
COMMAND_LINES = {
    "no trial": [],
    "two trials": ["{trial}", "{trial}"],
    "an unknown option": ["{trial}", "--overwrite"],
    "set without a value": ["{trial}", "--set"],
    "set without an equals sign": ["{trial}", "--set", "arms.lora.rank"],
    "set of nothing": ["{trial}", "--set", "=3"],
    "set of an unknown key": ["{trial}", "--set", "arms.lora.ranks=3"],
    "set into a value": ["{trial}", "--set", "model.name=x"],
    "set to a wrong type": ["{trial}", "--set", "training.epochs=[1]"],
    "set of broken YAML": ["{trial}", "--set", "arms.lora.targets=[q"],
    "a folder without a trial": ["{trial}/.."],
    "a data file": ["{trial}/../rows.jsonl"],
}

# Of the other commands, in the folder of the trial, none of which has been run.
OTHER_COMMANDS = [
    ["run", "trial.yaml", "--arm", "lorra"],
    ["run", "trial.yaml", "--out", "trial.yaml"],
    ["run", "trial.yaml", "--smoke", "--arm", "lorra"],
    ["run", "rows.jsonl"],
    ["run", "bytes"],
    ["run", "gone.yaml"],
    ["tune", "trial.yaml", "--arm", "lorra"],
    ["sample", "trial.yaml", "--arm", "lorra"],
    ["sample", "trial.yaml", "--prompts", "gone.txt"],
    ["sample", "trial.yaml", "--prompts", "empty"],
    ["report", "trial.yaml"],
    ["report", "--open"],
    ["verify", "trial.yaml"],
    ["verify", "rows.jsonl"],
    ["score", "trial.yaml"],
    ["score", "trial.yaml", "--primary", "rogue"],
    ["score", "gone.csv"],
    ["score", "junk.csv"],
    ["score", "bytes"],
    ["score", "empty"],
    ["grade", "trial.yaml"],
    ["grade", "gone"],
    ["unblind", "trial.yaml"],
    ["unblind", "gone"],
    ["export", "trial.yaml", "lora", "--out", "x"],
    ["export", "trial.yaml", "lorra", "--out", "x"],
    ["export", "gone", "--out", "x"],
    ["plan", "trial.yaml", "--device", "toaster"],
    ["plan", "trial.yaml", "--memory", "lots"],
    ["plan", "trial.yaml", "--hours", "-1"],
    ["plan", "trial.yaml", "--hours", "few"],
    ["split", "gone"],
    ["clean", "gone"],
    ["init"],
    ["init", "--data", "gone.csv", "--model", "model"],
    ["init", "--data", "bytes", "--model", "model"],
    ["scale", "optimal", "--flops", "lots"],
    ["footprint", "gone"],
    ["footprint", "model", "--method", "lorra:4"],
    ["demo", "--out", "trial.yaml"],
    ["pretrain", "--data", "gone"],
    ["import", "gone"],
    ["doctor", "--model", "gone"],
    ["nonesuch"],
]
