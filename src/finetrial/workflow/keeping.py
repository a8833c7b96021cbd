"""Exchange what a step made before for what its settings ask for now: nothing that was finished is lost.

Before a step runs with other inputs, its files and those of the steps after it are moved to kept/. Where these very
inputs have made something before, that is taken back by rename, finished or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from finetrial.store.kept import KeptRecord, displace, forget_kept, kept_place, kept_record, take_back
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest, StepRecord
from finetrial.units import format_bytes
from finetrial.workflow.step import Step
from finetrial.workflow.step_states import changed_inputs

Say = Callable[[str], None]


def made_by(step: Step, *, manifest: Manifest) -> Mapping[str, str] | None:
    """The inputs of what the step has written, finished or begun; None where it has written nothing."""
    record = manifest.records.get(step.name)
    return manifest.begun.get(step.name) if record is None else record.inputs


def set_aside(step: Step, *, manifest: Manifest, say: Say) -> bool:
    """Move what the step made to kept/. False where there was nothing."""
    inputs, files = made_by(step, manifest=manifest), step.own_files()
    if inputs is None or not files:
        return False
    record = manifest.records.get(step.name)
    folder = TrialFolder(manifest.root)
    place = kept_place(folder, step=step.stage, arm=step.subject, inputs=inputs)
    size = displace(
        folder,
        place,
        KeptRecord(inputs, None if record is None else record.outputs),
        files=files,
        shared=step.shared_files(),
    )
    manifest.forget(step.name)
    if size:
        where = place.relative_to(folder.root).as_posix()
        say(f"{step.subject}: what another setting made is kept in {where} ({format_bytes(size)})")
    return size > 0


def exchange(
    step: Step, *, inputs: Mapping[str, str], manifest: Manifest, dependents: Iterable[Step], say: Say
) -> bool:
    """Set aside what other inputs made, and take back what these made before. Whether something came back."""
    before = made_by(step, manifest=manifest)
    if before is not None and changed_inputs(before, inputs):
        for dependent in dependents:
            set_aside(dependent, manifest=manifest, say=say)
        set_aside(step, manifest=manifest, say=say)
    folder = TrialFolder(manifest.root)
    place = kept_place(folder, step=step.stage, arm=step.subject, inputs=inputs)
    kept = kept_record(place)
    if kept is None:
        return False
    manifest.begin(step.name, inputs=inputs)  # stopped in between, what came back so far is known again
    take_back(folder, place)
    if kept.outputs is not None:
        manifest.restore(step.name, StepRecord(inputs, kept.outputs, manifest.hashes(step.beside())))
    forget_kept(folder, place)
    return True
