"""What a run goes on from: a checkpoint of this version, or none."""

import torch

from finetrial.training.checkpoint import Checkpoint, write_checkpoint
from finetrial.training.ranks import ALONE
from finetrial.training.saves import read_saved


def test_a_checkpoint_whose_moments_stand_in_an_earlier_order_begins_again(tmp_path):
    values, random = {"fingerprint": "f", "step": 3}, {"cpu": torch.zeros(1)}
    for optimizer, goes_on in (({"masters": [], "moments": []}, True), ({"masters": [], "optimizer": {}}, False)):
        write_checkpoint(tmp_path, Checkpoint(values, {"optimizer": optimizer, "random": random}))
        found = read_saved(tmp_path, fingerprint="f", ranks=ALONE, shared=False)
        assert (found is not None) == goes_on
