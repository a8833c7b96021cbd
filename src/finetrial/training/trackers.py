"""Send an arm's curves to TensorBoard, Weights & Biases, MLflow or trackio while it is tuned.

Through accelerate's tracker classes. A trial is a project (an experiment in MLflow), an arm's training run a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from accelerate.tracking import (
    GeneralTracker,
    MLflowTracker,
    TensorBoardTracker,
    TrackioTracker,
    WandBTracker,
)

from finetrial.errors import UserError
from finetrial.models.library_calls import quiet
from finetrial.store.records import TrainingPoint

Setting = str | int | float | bool | None


def _make(name: str, *, project: str, run: str, folder: Path) -> GeneralTracker:
    """A tracker that has not started. `folder` takes the files of those that write any."""
    make: Mapping[str, Callable[[], GeneralTracker]] = {
        "tensorboard": lambda: TensorBoardTracker(run, logging_dir=str(folder)),
        "wandb": lambda: WandBTracker(project, name=run, dir=str(folder)),
        "mlflow": lambda: MLflowTracker(experiment_name=project, run_name=run),
        "trackio": lambda: TrackioTracker(project, name=run),
    }
    return make[name]()


class Curves:
    """The curves of one training run in every tracker that was asked for."""

    def __init__(
        self, names: Sequence[str], *, project: str, run: str, folder: Path, settings: Mapping[str, Setting]
    ) -> None:
        """Raises UserError where a tracker does not start: not logged in, no server."""
        self._trackers: list[GeneralTracker] = []
        for name in names:
            folder.mkdir(parents=True, exist_ok=True)
            tracker = _make(name, project=project, run=run, folder=folder)
            try:
                with quiet():
                    tracker.start()
                    tracker.store_init_configuration({k: str(v) if v is None else v for k, v in settings.items()})
            except Exception as error:  # each service has errors of its own
                raise UserError(
                    f"the tracker {name} does not start",
                    got=(str(error).splitlines() or [type(error).__name__])[0][:200],
                    fix="Mend it, or take it out of training.trackers.",
                ) from error
            self._trackers.append(tracker)

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tracker in self._trackers:
            tracker.finish()

    def add(self, point: TrainingPoint) -> None:
        """Send what is known at this step."""
        values = {
            "loss/train": point.train_loss,
            "loss/validation": point.validation_loss,
            "learning_rate": point.learning_rate,
            "gradient_norm": point.gradient_norm,
            "tokens": point.tokens,
            "seconds": point.seconds,
        }
        for tracker in self._trackers:
            tracker.log({name: value for name, value in values.items() if value is not None}, step=point.step)
