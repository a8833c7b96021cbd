"""What an arm becomes hangs on the model's content, not on where it lies."""

from tiny_trials import TRIAL, Lines, make_base
from transformers import AutoModelForCausalLM

from finetrial.store.layout import TrialFolder
from finetrial.training.task import task_fingerprint
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.tune_task import arm_task


def test_a_checkpoint_of_a_model_that_has_changed_since_is_another_tasks(tmp_path):
    make_base(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TRIAL)

    def fingerprint():
        context = TrialContext(load_trial(tmp_path / "tiny.yaml"), TrialFolder(tmp_path / "run"), listener=Lines())
        return task_fingerprint(arm_task(context, context.arm("full"), learning_rate=1e-3))

    before = fingerprint()
    assert fingerprint() == before
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    model.transformer.wte.weight.data[0, 0] += 1
    model.save_pretrained(tmp_path / "model")
    assert fingerprint() != before
