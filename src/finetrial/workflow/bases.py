"""Read what the configurations of a trial's bases say: of its model, and of those that arms start from instead."""

from __future__ import annotations

from typing import Any

from finetrial.errors import FinetrialError
from finetrial.models.loading import adapter_config, load_config
from finetrial.models.own_forward import positions_in
from finetrial.trial.trial_file import LoadedTrial


class Bases:
    """The configurations of the models that a trial's arms start from, each read once and without weights."""

    def __init__(self, loaded: LoadedTrial) -> None:
        self._loaded = loaded
        self._read: dict[str, Any] = {}

    def config_of(self, arm: str) -> Any:
        """The configuration of the arm's base; of an arm from elsewhere the trial's model's."""
        source = self._loaded.base_source(arm)
        if source not in self._read:
            self._read[source] = load_config(source, trust_remote_code=self._loaded.trial.trust_remote_code)
        return self._read[source]

    def width_of(self, arm: str) -> int:
        """Its width: numbers a token has between two layers."""
        return int(self.config_of(arm).get_text_config().hidden_size)

    def positions_of(self, arm: str) -> int | None:
        """Its number of positions less those that a learned prompt takes, or None when its configuration names no
        limit."""
        positions, adapter = positions_in(self.config_of(arm)), self._loaded.trial.arms[arm].adapter
        if positions is None or adapter is None:
            return positions
        try:
            config = adapter_config(self._loaded.path(adapter))
        except FinetrialError:  # said where adapters are looked at
            return positions
        return positions - int(config.get("num_virtual_tokens") or 0)
