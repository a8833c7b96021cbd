"""A run reads its data once, hashes a model once, and encodes once what arms see alike."""

import json
import os
import subprocess
import sys

import pytest
import torch
from tiny_trials import TRIAL, Lines, make_base

from finetrial.store.layout import TrialFolder
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext

ENVIRONMENT, PLACES = os.environ, os.pathsep.join(map(str, filter(None, sys.path)))
# The data, and an arm that was trained elsewhere: every opening of a file by Python is counted.
COUNTED = """
import json, sys
from collections import Counter
from pathlib import Path
opened = Counter()
sys.addaudithook(lambda event, args: opened.update([str(args[0])]) if event == "open" else None)
from tiny_trials import Lines
from finetrial.store.layout import TrialFolder
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial
base = Path(sys.argv[1])
loaded = load_trial(base / "tiny.yaml", overrides=["arms.theirs={model: ./theirs}"])
context = TrialContext(loaded, TrialFolder(base / "run"), listener=Lines(), only=["base", "theirs"])
assert run_trial(context).failures == {}
print(json.dumps([opened[str(base / name)] for name in ("rows.jsonl", "theirs/vocabulary.txt")]))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("once")
    make_base(folder)
    (folder / "tiny.yaml").write_text(TRIAL)
    return folder


def test_a_run_opens_its_data_once_and_an_arm_from_elsewhere_is_hashed_once(base):
    (base / "model").rename(base / "theirs")
    make_base(base)
    (base / "theirs" / "vocabulary.txt").write_text("only the hash reads it")
    program = [sys.executable, "-c", COUNTED, str(base)]
    done = subprocess.run(program, capture_output=True, text=True, env={**ENVIRONMENT, "PYTHONPATH": PLACES})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [1, 1]


def test_arms_that_see_the_examples_alike_share_their_encoding_and_others_have_their_own(base):
    overrides = ['arms.other={method: full, learning_rate: 1e-3, template: "Say: {prompt}"}']
    loaded = load_trial(base / "tiny.yaml", overrides=overrides)
    context = TrialContext(loaded, TrialFolder(base / "run"), listener=Lines())
    full, lora, other = (
        context.encoded(context.arm(name), context.splits.train) for name in ("full", "lora", "other")
    )
    assert full is lora and len(full.examples) == len(context.splits.train) == 62
    assert other.examples[0].token_ids != full.examples[0].token_ids
    validation = context.encoded(context.arm("full"), context.splits.validation)
    assert [e.example_id for e in validation.examples] == [e.id for e in context.splits.validation]
