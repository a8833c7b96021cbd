"""Make the deployed form of an arm that the trial itself can make: its weights merged, as `export` writes them."""

from __future__ import annotations

import shutil
from pathlib import Path

from finetrial.errors import UserError
from finetrial.methods.torch_half import Where
from finetrial.models.device import choose_precision, pick_device
from finetrial.models.export_folder import Exported, export_arm, export_tuned
from finetrial.store.files import atomic_text
from finetrial.store.hashes import hash_value
from finetrial.trial.resolve import SampledArm
from finetrial.workflow.context import TrialContext

_MADE_OF = "made_of.txt"  # in the merged folder: the hash of what it was made of


def merged_folder(context: TrialContext, arm: SampledArm, *, weights: object) -> Path | None:
    """The exported model that a merged arm is sampled from, written unless it stands there; None for other arms.

    `weights` stands for the weights that are merged. Raises UserError where they cannot be.
    """
    of = arm.method.deployed_from
    if of is None or arm.method.sampler is not None:
        return None
    folder, made_of = context.folder.arm(arm.name) / "merged", hash_value([weights, arm.precision])
    if (folder / _MADE_OF).exists() and (folder / _MADE_OF).read_text(encoding="utf-8") == made_of:
        return folder
    partial = folder.with_name("merged.part")  # a kill leaves this one, never half a model under the name
    for left in (folder, partial):
        shutil.rmtree(left, ignore_errors=True)
    written = _export(context, context.resolved[of], out=partial)
    if written.unmerged is not None:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(
            f"arm {of} cannot be merged into its base, so that {arm.name} has nothing to be sampled from",
            got=written.unmerged,
            fix="Deploy it with its adapter: `as: endpoint`, on a server that loads adapters.",
        )
    atomic_text(partial / _MADE_OF, made_of)
    partial.rename(folder)
    return folder


def _export(context: TrialContext, of: SampledArm, *, out: Path) -> Exported:
    dtype = choose_precision(context.precision_of(of), device=pick_device())
    trusted = context.trial.trust_remote_code
    if of.tuned:
        where = Where(base=of.base, dtype=dtype, trust_remote_code=trusted)
        return export_tuned(of.keys.tuning, where, folder=context.folder.arm(of.name), out=out)
    return export_arm(
        of.base,
        out=out,
        adapter=of.adapter,
        model=of.model if of.has_own_model else None,
        dtype=dtype,
        trust_remote_code=trusted,
    )
