"""drsearch: from a folder of fundus photographs to a registered classifier of referable diabetic retinopathy.

    import drsearch

    data = drsearch.prepare("~/IDRiD")
    study = drsearch.run_study("search_spaces/resnet.py", data, trials=40, workers=2)
    drsearch.promote(study.model)
    drsearch.load_model("retinopathy@champion").predict(["eye.jpg"])

docs/python.md has a recipe for every function. A name is loaded when it is first used: `import drsearch` loads nothing
heavy.
"""

import importlib
from typing import TYPE_CHECKING, Any

from drsearch.startup import hook_imports

if TYPE_CHECKING:
    from drsearch.api.ablate import Ablation, ablate
    from drsearch.api.champion import Promotion, history, lineage, promote, rollback
    from drsearch.api.clean import Cleaning, clean
    from drsearch.api.cross_validate import CrossValidation, cross_validate
    from drsearch.api.data import Data, describe_data, prepare, synthesize
    from drsearch.api.doctor import Checkup, doctor
    from drsearch.api.model import Model, Training, compare, evaluate, explain, load_model, model_card, stress, train
    from drsearch.api.server import change_password, dashboard, serve, set_users, sync, ui
    from drsearch.api.space import describe_space, spaces
    from drsearch.api.study import Study, join_study, load_study, report, run_study, studies
    from drsearch.errors import DrsearchError, Interrupted
    from drsearch.settings import Settings

__version__ = "0.1.0"

_HOMES = {
    "prepare": "api.data",
    "describe_data": "api.data",
    "synthesize": "api.data",
    "Data": "api.data",
    "clean": "api.clean",
    "Cleaning": "api.clean",
    "doctor": "api.doctor",
    "Checkup": "api.doctor",
    "describe_space": "api.space",
    "spaces": "api.space",
    "run_study": "api.study",
    "report": "api.study",
    "load_study": "api.study",
    "studies": "api.study",
    "join_study": "api.study",
    "Study": "api.study",
    "ablate": "api.ablate",
    "Ablation": "api.ablate",
    "cross_validate": "api.cross_validate",
    "CrossValidation": "api.cross_validate",
    "train": "api.model",
    "evaluate": "api.model",
    "explain": "api.model",
    "stress": "api.model",
    "compare": "api.model",
    "load_model": "api.model",
    "model_card": "api.model",
    "Model": "api.model",
    "Training": "api.model",
    "promote": "api.champion",
    "rollback": "api.champion",
    "history": "api.champion",
    "lineage": "api.champion",
    "Promotion": "api.champion",
    "serve": "api.server",
    "ui": "api.server",
    "sync": "api.server",
    "dashboard": "api.server",
    "set_users": "api.server",
    "change_password": "api.server",
    "Settings": "settings",
    "DrsearchError": "errors",
    "Interrupted": "errors",
}

__all__ = [
    "Ablation",
    "Checkup",
    "Cleaning",
    "CrossValidation",
    "Data",
    "DrsearchError",
    "Interrupted",
    "Model",
    "Promotion",
    "Settings",
    "Study",
    "Training",
    "ablate",
    "change_password",
    "clean",
    "compare",
    "cross_validate",
    "dashboard",
    "describe_data",
    "describe_space",
    "doctor",
    "evaluate",
    "explain",
    "history",
    "join_study",
    "lineage",
    "load_model",
    "load_study",
    "model_card",
    "prepare",
    "promote",
    "report",
    "rollback",
    "run_study",
    "serve",
    "set_users",
    "spaces",
    "stress",
    "studies",
    "sync",
    "synthesize",
    "train",
    "ui",
]

hook_imports()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'drsearch' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"drsearch.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
