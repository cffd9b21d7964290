"""What a network loses where its normalizations hold the averages of its training, on PublicTest and on the training faces it was not trained on.

usage: python .ci/bench_normalizations.py fer2013.zip [--result FILE]     (some ten minutes on two cores)

A training measures the mean and variance of each normalization on changed faces and behind dropout; the network is then asked about unchanged faces without dropout.
Here they are measured anew for the default network in four ways: with and without the changes, with and without dropout.
"""
import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from emotion_maps.augment import change, random_changes
from emotion_maps.backend import backend_name, to_numpy
from emotion_maps.core import EmotionMapsError, ParameterError, Progress, write_json
from emotion_maps.data import load_faces, model_input, split_faces
from emotion_maps.evaluate import accuracy_interval
from emotion_maps.recipes import open_pretrained
from emotion_maps.train import held_out, is_of_its_faces, measure_normalizations, recipe_from, split_fingerprint, three_blocks, versions

NETWORK = "default"
FACES = 8192  # to measure on
WAYS = tuple((changed, dropout) for changed in (False, True) for dropout in (False, True))


def changed_faces(faces, recipe, batch_size=256):
    """Faces changed by chance as the recipe's training changes them, rounded to whole gray values."""
    batches = [faces.images[start:start + batch_size] for start in range(0, len(faces), batch_size)]
    made = [to_numpy(change(model_input(batch), *random_changes(len(batch), recipe.augmentation, (0, number)))) for number, batch in enumerate(batches)]
    return replace(faces, images=np.clip(np.rint(np.concatenate(made)[..., 0]), 0, 255).astype("uint8"))


def measured(model, recipe, faces, dropout):
    """A copy of a recipe's model, its normalizations measured anew on faces."""
    copy = three_blocks(**recipe.shape, classes=model.output_shape[-1])
    copy.set_weights(model.get_weights())
    measure_normalizations(copy, recipe, faces, len(faces), dropout=dropout)
    return copy


def score(model, faces):
    """Accuracy, its 95 % interval and the mean surprise (negative log likelihood) on faces."""
    answers = model.predict(model_input(faces.images), batch_size=256, verbose=0)
    right = answers.argmax(1) == faces.labels
    return {"accuracy": float(right.mean()), "interval": list(accuracy_interval(int(right.sum()), len(right))), "nll": float(-np.log(np.maximum(answers[np.arange(len(right)), faces.labels], 1e-12)).mean())}


def measure(given):
    """Measure, print, and with --result keep; the faces of the test part stay unseen. Raises `DataError`, `ParameterError`."""
    split, network = split_faces(load_faces(given.data)), open_pretrained(NETWORK)
    if not is_of_its_faces(network.manifest, split):
        raise ParameterError(f"{NETWORK} was trained on other faces than {given.data} holds", "give the faces that it was trained on")
    recipe, calibration = recipe_from("brief", **network.manifest["parameters"]), network.manifest["calibration"]
    apart = held_out(split.train, calibration["share"], calibration["seed"])
    parts = {"PublicTest": split.validation, "held out": split.train[apart]}
    learnt = split.train[np.flatnonzero(~apart)[np.random.default_rng(0).permutation(int((~apart).sum()))[:FACES]]]
    rows = []
    with Progress(len(WAYS) + 1, "Normalizations") as bar:
        for way in (None, *WAYS):
            faces = changed_faces(learnt, recipe) if way and way[0] else learnt
            model = measured(network.model, recipe, faces, way[1]) if way else network.model
            rows.append({"measured on": "as shipped" if not way else "changed faces" if way[0] else "unchanged faces", "dropout": bool(way and way[1])} | {name: score(model, part) for name, part in parts.items()})
            bar.advance()
    if given.result:
        write_json(given.result, {"rows": rows, "faces": {name: len(part) for name, part in parts.items()} | {"measured on": len(learnt)}, "note": split.note, "data": Path(split.train.source).name,
                                  "data_fingerprint": split_fingerprint(split), "networks": {NETWORK: network.manifest["sha256"]}, "versions": versions(),
                                  "command": f"KERAS_BACKEND={backend_name()} python .ci/bench_normalizations.py {Path(given.data).name} --result nbs/results/{Path(given.result).name}"})
    for row in rows:
        print(f"{row['measured on']:16} {'with dropout' * row['dropout']:13}", *(f"{name} {row[name]['accuracy']:.4f} (nll {row[name]['nll']:.3f})" for name in parts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--result", help="also write the figures to this JSON file")
    try:
        measure(parser.parse_args())
    except EmotionMapsError as error:
        sys.exit(str(error))
