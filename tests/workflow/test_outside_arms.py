"""An adapter from elsewhere in a whole trial: a learned prompt answers through peft, and doubts are said."""

import json

import torch
from peft import PromptTuningConfig, get_peft_model
from tiny_trials import TRIAL, Lines, make_base
from transformers import AutoModelForCausalLM

from finetrial.api.trial_check import check_trial
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, read_object, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial


def test_a_learned_prompt_for_a_hub_id_runs_and_check_run_and_report_say_what_is_not_known(tmp_path):
    torch.set_num_threads(1)
    make_base(tmp_path)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    adapted = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    adapted.save_pretrained(tmp_path / "prompt")
    config = tmp_path / "prompt" / "adapter_config.json"
    settings = json.loads(config.read_text()) | {"base_model_name_or_path": "meta-llama/Small"}
    config.write_text(json.dumps(settings))
    start, end = TRIAL.index("arms:"), TRIAL.index("training:")
    arms = "arms:\n  base:\n  theirs: {adapter: ./prompt}\n"
    (tmp_path / "tiny.yaml").write_text(TRIAL[:start] + arms + TRIAL[end:])
    loaded = load_trial(tmp_path / "tiny.yaml")

    checked = check_trial(loaded, folder=TrialFolder(tmp_path / "run"))
    assert checked.error is None
    (finding,) = [f for f in checked.findings if f.code == "base_unknown"]
    assert "theirs" in finding.message and "meta-llama/Small" in finding.message

    folder, lines = TrialFolder(tmp_path / "run"), Lines()
    done = run_trial(TrialContext(loaded, folder, listener=lines))
    assert done.failures == {}
    assert any(line.startswith("theirs: adapter: beside the weights") for line in lines.lines)
    assert any(line.startswith("theirs: sampled one sequence at a time") for line in lines.lines)
    measured = read_object(folder.measured("theirs"), Measured)
    assert "PROMPT_TUNING" in measured.unmerged and "learned prompt" in measured.sampled_alone
    assert "meta-llama/Small" in measured.base_unknown and measured.heldout_loss is not None
    assert len(list(read_rows(folder.samples("theirs"), Sample))) == 12
    kinds = [(w.kind, w.arms) for w in done.findings.verdict_warnings]
    assert ("base_unknown", ("theirs",)) in kinds
    assert "may have been trained on another base" in (folder.root / "report" / "report.md").read_text()
