"""How much of the default network's accuracy a part of its filters keeps without any training, on the faces of FER2013 that choose between networks: PublicTest.

usage: python .ci/bench_narrower.py fer2013.zip [--result FILE]     (some twenty minutes on two cores)

Three ways to choose the filters: the strongest by their weights (chapter 02), those that change the answer most when they are taken out alone
(nbs/results/05b_ablation.parquet, chapter 05b), and chance. The normalizations are measured anew for each choice.
"""
import argparse
from dataclasses import replace
from itertools import zip_longest

import numpy as np
from on_public_test import call, keep, split_and_network

from emotion_maps.ablation import read_effects
from emotion_maps.activation_maps import convolutional_layers
from emotion_maps.core import Progress
from emotion_maps.data import model_input
from emotion_maps.evaluate import accuracy_interval
from emotion_maps.train import filter_strengths, measure_normalizations, recipe_from, strongest_filters, three_blocks

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
    split, network = split_and_network(given.data, NETWORK)
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
    keep(given, "bench_narrower.py", split, {NETWORK: network.manifest["sha256"]}, {"rows": rows, "faces": len(faces)})
    for row in rows:
        print(f"{row['fewer']:32} {str(row['filters']):18} {str(row['dense']):12} {row['chosen by']:10} {row['parameters']:9,} parameters  {row['accuracy']:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    call(measure, parser)
