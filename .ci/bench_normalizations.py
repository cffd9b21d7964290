"""What a network loses where its normalizations hold the averages of its training, on PublicTest and on the training faces it was not trained on.

usage: python .ci/bench_normalizations.py fer2013.zip [--result FILE]     (some ten minutes on two cores)

A training measures the mean and variance of each normalization on changed faces and behind dropout; the network is then asked about unchanged faces without dropout.
Here they are measured anew for a shipped network in four ways: with and without the changes, with and without dropout.
"""
import argparse
from dataclasses import replace

import numpy as np
from on_public_test import call, keep, split_and_network

from emotion_maps.augment import change, random_changes
from emotion_maps.backend import to_numpy
from emotion_maps.core import Progress
from emotion_maps.data import model_input
from emotion_maps.evaluate import accuracy_interval
from emotion_maps.train import held_out, measure_normalizations, recipe_from, three_blocks

NETWORK = "apart"  # the shipped one that saw changed faces to the end
FACES = 8192  # to measure on, drawn by chance
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
    measure_normalizations(copy, recipe, faces, FACES, dropout=dropout)
    return copy


def score(model, faces):
    """Accuracy, its 95 % interval and the mean surprise (negative log likelihood) on faces."""
    answers = model.predict(model_input(faces.images), batch_size=256, verbose=0)
    right = answers.argmax(1) == faces.labels
    return {"accuracy": float(right.mean()), "interval": list(accuracy_interval(int(right.sum()), len(right))), "nll": float(-np.log(np.maximum(answers[np.arange(len(right)), faces.labels], 1e-12)).mean())}


def measure(given):
    """Measure, print, and with --result keep; the faces of the test part stay unseen. Raises `DataError`, `ParameterError`."""
    split, network = split_and_network(given.data, NETWORK)
    recipe, calibration = recipe_from("brief", **network.manifest["parameters"]), network.manifest["calibration"]
    apart = held_out(split.train, calibration["share"], calibration["seed"])
    parts = {"PublicTest": split.validation, "held out": split.train[apart]}
    learnt = split.train[~apart]
    given_to, rows = {False: learnt, True: changed_faces(learnt, recipe)}, []
    with Progress(len(WAYS) + 1, "Normalizations") as bar:
        for way in (None, *WAYS):
            model = measured(network.model, recipe, given_to[way[0]], way[1]) if way else network.model
            rows.append({"measured on": "as shipped" if not way else "changed faces" if way[0] else "unchanged faces", "dropout": bool(way and way[1])} | {name: score(model, part) for name, part in parts.items()})
            bar.advance()
    keep(given, "bench_normalizations.py", split, {NETWORK: network.manifest["sha256"]}, {"rows": rows, "faces": {name: len(part) for name, part in parts.items()} | {"measured on": min(FACES, len(learnt))}})
    for row in rows:
        print(f"{row['measured on']:16} {'with dropout' * row['dropout']:13}", *(f"{name} {row[name]['accuracy']:.4f} (nll {row[name]['nll']:.3f})" for name in parts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    call(measure, parser)
