"""Finetrial: a fine-tune as a trial. Importing the package loads nothing; its parts load when they are used."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from finetrial import footprint
    from finetrial.api import scale
    from finetrial.api.outputs import compare, score
    from finetrial.api.result import TrialResult
    from finetrial.api.score_result import ScoreResult
    from finetrial.api.trial import Trial
    from finetrial.errors import AnswerIsNo, FinetrialError, MissingPackage, UserError
    from finetrial.planning.model_shape import load_shape

    __version__: str

# name -> the module that it stands in; a name that is a module's last part is that module
_PLACES = {
    "Trial": "finetrial.api.trial",
    "TrialResult": "finetrial.api.result",
    "ScoreResult": "finetrial.api.score_result",
    "score": "finetrial.api.outputs",
    "compare": "finetrial.api.outputs",
    "load_shape": "finetrial.planning.model_shape",
    "scale": "finetrial.api.scale",
    "footprint": "finetrial.footprint",
    "FinetrialError": "finetrial.errors",
    "UserError": "finetrial.errors",
    "AnswerIsNo": "finetrial.errors",
    "MissingPackage": "finetrial.errors",
}

__all__ = [
    "AnswerIsNo",
    "FinetrialError",
    "MissingPackage",
    "ScoreResult",
    "Trial",
    "TrialResult",
    "UserError",
    "__version__",
    "compare",
    "footprint",
    "load_shape",
    "scale",
    "score",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("finetrial")
        except PackageNotFoundError:  # a source tree that was never installed
            return "0+unknown"
    if name not in _PLACES:
        raise AttributeError(f"module 'finetrial' has no attribute {name!r}")
    from importlib import import_module

    place = _PLACES[name]
    module = import_module(place)
    return module if place.rpartition(".")[2] == name else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
