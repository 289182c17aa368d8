"""The choices of best.gin at 160 pixels, for an ablation to judge one by one.

what for   `drsearch ablate` puts each choice of `space` back to the value in SETTINGS (or else the default), one at a
           time; a choice that best.gin leaves off has the value to be tried in SETTINGS
command    drsearch run-study best_choices --data ~/IDRiD && drsearch ablate best_choices --workers 2
minutes    5 for the study; for the ablation of IDRiD's 413 photographs some 90 with --repeats 1, on two cores
expect     local mean, lesions, mask and clipped gradients help, in this order; docs/science.md has the table
needs      boxes around lesions, as IDRiD has
"""

from keras_tuner import HyperParameters

SETTINGS = {
    "images.image_px": 160,
    "augmentation.shift_fraction": 0.06,
    "augmentation.zoom_fraction": 0.15,
    "augmentation.shear_deg": 7.0,
    "augmentation.brightness_fraction": 0.08,
    "augmentation.contrast_fraction": 0.2,
    "augmentation.mixup": 0.2,
    "model.normalisation": "group",
    "model.squeeze_excitation": True,
    "model.drop_path": 0.1,
    "training.epochs": 45,
    "training.batch_size": 16,
    "training.optimizer": "adamw",
    "training.learning_rate": 1.5e-3,
    "training.warmup_epochs": 2,
    "training.levels_loss": "squared_error",
    "training.edema_weight": 0.5,
    "training.judged_epoch": "last",
    "study.sampler": "grid",
    "finetune.when": "never",
}


def space(hp: HyperParameters) -> None:
    """Photograph, augmentation, network, targets, optimisation."""
    hp.Fixed("images.normalisation", "local_mean")
    hp.Fixed("images.fit", "pad")
    hp.Fixed("images.mask", 0.48)
    hp.Fixed("augmentation.rotation_deg", 180.0)
    hp.Fixed("augmentation.contrast_fraction", 0.0)
    hp.Fixed("augmentation.mixup", 0.0)
    hp.Fixed("model.stages", 4)
    hp.Fixed("model.normalisation", "batch")
    hp.Fixed("model.squeeze_excitation", False)
    hp.Fixed("model.drop_path", 0.0)
    hp.Fixed("model.pooling", "mean_max")
    hp.Fixed("model.dropout", 0.2)
    hp.Fixed("training.batch_size", 4)
    hp.Fixed("training.schedule", "cosine")
    hp.Fixed("training.weight_decay", 0.02)
    hp.Fixed("training.clip_norm", 5.0)
    hp.Fixed("training.label_smoothing", 0.05)
    hp.Fixed("training.levels_weight", 0.5)
    hp.Fixed("training.levels_loss", "cross_entropy")
    hp.Fixed("training.edema_weight", 0.0)
    hp.Fixed("training.lesions_weight", 1.0)
    hp.Fixed("training.ema_decay", 0.998)
    hp.Fixed("training.balance", "none")
