"""How much of the default network's accuracy a part of its filters keeps without any training, on the faces of FER2013 that choose between networks: PublicTest.

usage: python .ci/bench_narrower.py fer2013.zip [--result FILE]     (some twenty minutes on two cores)

Three ways to choose the filters: the strongest by their weights (chapter 02), those that change the answer most when they are taken out alone
(nbs/results/05b_ablation.parquet, chapter 05b), and chance. The normalizations are measured anew for each choice.
"""
import argparse
import sys
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from emotion_maps.ablation import read_effects
from emotion_maps.activation_maps import convolutional_layers
from emotion_maps.backend import backend_name
from emotion_maps.core import EmotionMapsError, ParameterError, Progress, write_json
from emotion_maps.data import load_faces, model_input, split_faces
from emotion_maps.evaluate import accuracy_interval
from emotion_maps.recipes import open_pretrained
from emotion_maps.train import filter_strengths, is_of_its_faces, measure_normalizations, recipe_from, split_fingerprint, strongest_filters, three_blocks, versions

NETWORK = "default"
SHARES = (7 / 8, 3 / 4, 5 / 8, 1 / 2)
SEEDS = (0, 1, 2)  # of the choices by chance


def effects_of(effects, emotions):
    """{layer: (filters,)}: the root of the mean square, over the emotions, of how much the score of an emotion changes when the filter is taken out."""
    return {layer: np.sqrt(np.mean([rows.sort_values("filter")[f"effect_{emotion}"].to_numpy() ** 2 for emotion in emotions], 0)) for layer, rows in effects.groupby("layer")}


def choices(strengths, layers, effects):
    """{how filters are chosen: strengths to choose by}: of the layers without a measured effect the weights decide; `layers` names the first, the convolutional ones."""
    by_chance = {f"chance {seed}": [np.random.default_rng([seed, number]).random(len(one)) for number, one in enumerate(strengths)] for seed in SEEDS}
    return {"weights": strengths, "effect": [effects.get(layer, strength) for layer, strength in zip_longest(layers, strengths)]} | by_chance


def narrower(recipe):
    """(what is fewer, the share that is kept, the recipe of such a network): the filters, then the units of the first dense layer."""
    fewer = [("filters", share, {"filters": tuple(int(share * count) for count in recipe.filters)}) for share in SHARES]
    fewer += [("units of the first dense layer", share, {"dense": (int(share * recipe.dense[0]), *recipe.dense[1:])}) for share in (1 / 2, 1 / 4)]
    return [(what, share, replace(recipe, **change)) for what, share, change in fewer]


def narrowed(model, recipe, strengths, faces):
    """The network that a part of a model's filters make, its normalizations measured anew on faces."""
    smaller = three_blocks(**recipe.shape, classes=model.output_shape[-1])
    smaller.set_weights(strongest_filters(model.get_weights(), [count for count in recipe.filters for _ in range(recipe.convolutions)] + [*recipe.dense], strengths))
    measure_normalizations(smaller, recipe, faces)
    return smaller


def row_of(what, share, recipe, chosen, model, right):
    """A row of the result, of right answers (n,) bool."""
    return {"fewer": what, "share": share, "filters": list(recipe.filters), "dense": list(recipe.dense), "chosen by": chosen, "parameters": model.count_params(),
            "accuracy": float(right.mean()), "interval": list(accuracy_interval(int(right.sum()), len(right)))}


def measure(given):
    """Measure, print, and with --result keep; the faces of the test part stay unseen. Raises `DataError`, `ParameterError`."""
    split, network = split_faces(load_faces(given.data)), open_pretrained(NETWORK)
    if not is_of_its_faces(network.manifest, split):
        raise ParameterError(f"{NETWORK} was trained on other faces than {given.data} holds", "give the faces that it was trained on")
    recipe, faces, model = recipe_from("brief", **network.manifest["parameters"]), split.validation, network.model
    effects = effects_of(read_effects("nbs/results/05b_ablation.parquet"), network.manifest["emotions"])
    chosen_by = choices(filter_strengths(model.get_weights()), convolutional_layers(model), effects)

    def right(one):
        return one.predict(model_input(faces.images), batch_size=256, verbose=0).argmax(1) == faces.labels

    rows = [row_of("nothing", 1, recipe, "", model, right(model))]
    tried = [(*smaller, chosen) for smaller in narrower(recipe) for chosen in chosen_by if chosen != "effect" or smaller[0] == "filters"]
    with Progress(len(tried), "Narrower networks") as bar:
        for what, share, smaller, chosen in tried:
            made = narrowed(model, smaller, chosen_by[chosen], split.train)
            rows.append(row_of(what, share, smaller, chosen, made, right(made)))
            bar.advance()
    if given.result:
        write_json(given.result, {"rows": rows, "faces": len(faces), "note": split.note, "data": Path(faces.source).name, "data_fingerprint": split_fingerprint(split),
                                  "networks": {NETWORK: network.manifest["sha256"]}, "versions": versions(),
                                  "command": f"KERAS_BACKEND={backend_name()} python .ci/bench_narrower.py {Path(given.data).name} --result nbs/results/{Path(given.result).name}"})
    for row in rows:
        print(f"{row['fewer']:32} {str(row['filters']):18} {str(row['dense']):12} {row['chosen by']:10} {row['parameters']:9,} parameters  {row['accuracy']:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--result", help="also write the figures to this JSON file")
    try:
        measure(parser.parse_args())
    except EmotionMapsError as error:
        sys.exit(str(error))
