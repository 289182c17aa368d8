"""When is a model underfitting, and how does the next stage train?"""

from drsearch.model.fit import EpochResult, Measures
from drsearch.release.finetune import finetune_settings, underfits
from drsearch.settings import Settings


def history(accuracies: list[float], aucs: list[float]) -> list[EpochResult]:
    return [
        EpochResult(i + 1, 1e-3, 1.0, Measures(0.5, accuracy, 0.5), Measures(0.5, 0.5, auc))
        for i, (accuracy, auc) in enumerate(zip(accuracies, aucs, strict=True))
    ]


def test_a_model_that_does_not_know_its_training_images_and_still_rises_is_underfitting() -> None:
    verdict, why = underfits(history([0.7] * 9, [0.60, 0.61, 0.62, 0.63, 0.64, 0.65, 0.66, 0.67, 0.68]), 0.95)
    assert verdict
    assert why == (
        "train accuracy (threshold 0.5) 0.700 is below 0.95, "
        "and validation AUC did not fall over the last 3 epochs (+0.01000 per epoch)"
    )


def test_a_model_that_knows_its_training_images_is_not() -> None:
    verdict, why = underfits(history([0.99] * 9, [0.6] * 9), 0.95)
    assert not verdict
    assert why.startswith("train accuracy (threshold 0.5) 0.990 is at or above 0.95")


def test_a_model_whose_validation_falls_is_not() -> None:
    verdict, why = underfits(history([0.7] * 9, [0.9] * 6 + [0.8, 0.7, 0.6]), 0.95)
    assert not verdict
    assert "validation AUC fell over the last 3 epochs (-0.10000 per epoch)" in why


def test_only_the_end_of_the_training_counts() -> None:
    assert underfits(history([0.99] * 10 + [0.7] * 5, [0.9] * 10 + [0.5] * 5), 0.95)[0]


def test_the_stage_has_a_fresh_adam_at_a_low_rate_and_stronger_augmentation() -> None:
    trial = Settings().replace(
        {"training.optimizer": "sgd", "training.schedule": "cosine", "augmentation.strength": 1.2, "model.width": 8}
    )
    stage = finetune_settings(trial)
    assert (stage.training.optimizer, stage.training.learning_rate, stage.training.epochs) == ("adam", 1e-5, 50)
    assert stage.training.schedule == "constant"
    assert abs(stage.augmentation.strength - 1.8) < 1e-12
    assert stage.model == trial.model
