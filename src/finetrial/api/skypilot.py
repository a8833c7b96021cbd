"""Write a SkyPilot task that runs a trial on a Ray cluster of rented machines. Needs no SkyPilot."""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from finetrial.errors import UserError
from finetrial.store.files import atomic_text
from finetrial.store.layout import TrialFolder
from finetrial.store.plan_record import read_plan_or_none
from finetrial.trial.trial_file import LoadedTrial

# Ray's port on the first machine; 6380 is that of SkyPilot's own Ray, whose cluster is not ours
_ADDRESS = "127.0.0.1:6379"
_RUNS = "/finetrial-runs"  # where every machine sees the trial's folder
_MACHINES = 4  # at most, unless the file is changed. Assumption
_RUN = """\
~/sky_templates/ray/start_cluster
if [ "$SKYPILOT_NODE_RANK" = 0 ]; then
  RAY_ADDRESS={address} finetrial run {trial} --out {runs}/{name} --on ray
fi
"""


def skypilot_task(loaded: LoadedTrial, folder: TrialFolder, *, trial_file: Path) -> dict[str, Any]:
    """The task. What its machines must hold is what `finetrial plan` or an earlier run found for the arms."""
    plan, name = read_plan_or_none(folder.plan), loaded.trial.trial
    resources: dict[str, Any] = {"cpus": "4+"}
    if plan is not None and plan.device.kind == "cuda":
        resources = {"accelerators": f"{_card(plan.device.name)}:1"}
    elif plan is not None and plan.needed_bytes is not None:
        resources["memory"] = f"{math.ceil(plan.needed_bytes / 1e9)}+"
    return {
        "name": name,
        "resources": resources,
        "num_nodes": min(len(loaded.trial.arms), _MACHINES),
        "workdir": str(loaded.base.resolve()),
        "volumes": {_RUNS: f"finetrial-{name}"},
        "setup": f"pip install 'finetrial[tune,ray]=={version('finetrial')}'",
        "run": _RUN.format(address=_ADDRESS, trial=trial_file.name, runs=_RUNS, name=name),
    }


def _card(name: str) -> str:
    """A card's name as SkyPilot's catalogue has it: its model."""
    words = [word for word in name.replace("-", " ").split() if any(c.isdigit() for c in word)]
    return words[0] if words else name


def write_skypilot(loaded: LoadedTrial, folder: TrialFolder, *, trial_file: Path, to: Path) -> None:
    """Write the task as YAML. Raises UserError where the trial is named by its folder: machines copy the file's."""
    if trial_file.is_dir():
        raise UserError(
            "a SkyPilot task copies the trial file and its data", got=str(trial_file), fix="Name the file."
        )
    task = skypilot_task(loaded, folder, trial_file=trial_file)
    head = "# sky launch FILE. The volume is a disk that all machines share, since Ray's tasks write one folder;\n"
    head += "# `sky volumes apply` makes it. Machines and their number are yours to change.\n"
    atomic_text(to, head + yaml.dump(task, sort_keys=False, width=110))
