"""How fast a network of preset 'hour' trains here, beside plain Keras; with --minutes also how accurate each gets in that time.

usage: python .ci/bench_train.py [--rounds N] [--batches N] [--plain-batches N] [--minutes M] [--result FILE]     (make bench-train says --minutes 5)
FER2013 is used where EMOTION_MAPS_FER2013 names its ZIP, else the faces drawn here.
"""
import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emotion_maps.augment import resized
from emotion_maps.backend import accelerators, backend_name, choose_precision, import_keras
from emotion_maps.core import IMAGE_SIZE, write_json
from emotion_maps.data import load_faces, split_faces
from emotion_maps.train import PRESETS, fit, measure, one_hot, ready_to_fit, recipe_from, save_state, split_fingerprint, three_blocks, versions

keras = import_keras()
PRESET = "hour"
RECIPE = PRESETS[PRESET]
POLICY = choose_precision("auto", RECIPE.filters[0])
RESERVE = 0.1  # share of the minutes that our schedule leaves free, for a machine that grows slower
SMALL, FULL = f"c  emotion_maps, {POLICY}, {RECIPE.small_size} pixels", f"b  emotion_maps, {POLICY}, {IMAGE_SIZE} pixels"
PLAIN = f"a  plain Keras, float32, {IMAGE_SIZE} pixels"


def arrays(faces):
    """Faces as Keras takes them: (n, 48, 48, 1) float32 in 0…255 and one-hot labels."""
    return faces.images[..., None].astype("float32"), one_hot(faces)


def plain_network(classes):
    """The network as a newcomer to Keras would train it: augmented by layers in front, everything else as it comes."""
    layers, room = keras.layers, {"fill_mode": "nearest"}
    images = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    x = layers.RandomFlip("horizontal")(images)
    x = layers.RandomRotation(RECIPE.rotation / 360, **room)(x)
    x = layers.RandomTranslation(RECIPE.shift, RECIPE.shift, **room)(x)
    x = layers.RandomZoom(RECIPE.zoom, **room)(x)
    model = keras.Model(images, three_blocks(**RECIPE.shape, classes=classes)(x))
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


class Stopwatch(keras.callbacks.Callback):
    """The seconds from the start of an epoch to its last result."""

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self.started


class Contender(NamedTuple):
    """A model with how it trains an epoch and how it validates; `round` times both."""
    model: keras.Model
    train: Callable[[int, Stopwatch], object]
    validate: Callable[[], object]
    images: tuple[int, int]

    def round(self, number):
        """(training images a second, validation images a second, seconds of both together)."""
        watch, began = Stopwatch(), time.perf_counter()
        self.train(number, watch)
        trained = time.perf_counter()
        self.validate()
        ended = time.perf_counter()
        return self.images[0] / watch.seconds, self.images[1] / (ended - trained), ended - began

    def saving(self):
        """The seconds that an epoch's end takes to save state and best weights."""
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            save_state(Path(folder) / "state.npz", self.model, [], [])
            self.model.save_weights(Path(folder) / "best.weights.h5")
            return time.perf_counter() - began


class Pace(NamedTuple):
    """What a training costs: images a second, seconds before its first step, seconds to save after an epoch."""
    training: float
    validation: float
    start: float
    saving: float


def plain_contender(split):
    model, (images, labels), validation = plain_network(len(split.train.emotions)), arrays(split.train), arrays(split.validation)
    return Contender(model, lambda number, watch: model.fit(images, labels, batch_size=RECIPE.batch_size, verbose=0, callbacks=[watch]),
                     lambda: model.evaluate(*validation, verbose=0), (len(split.train), len(split.validation)))


def our_contender(split, size):
    model, batches, validation = ready_to_fit(split, RECIPE, size, precision=POLICY)

    def train(number, watch):
        batches.epoch = number
        model.fit(batches, shuffle=False, verbose=0, callbacks=[watch])
    return Contender(model, train, lambda: model.evaluate(validation, verbose=0), (len(split.train), len(split.validation)))


def take(faces, batches):
    """As many faces as fill these batches, from the front, again from the front when there are too few."""
    return faces[np.arange(batches * RECIPE.batch_size) % len(faces)]


def about():
    """What the figures depend on: facts to keep, and lines to print."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    where = ", ".join(accelerators()) or f"no accelerator, {cores} processor core{'s' * (cores != 1)}"
    numbers = versions()
    software = ", ".join(f"{name} {numbers[name]}" for name in (backend_name(), *sorted(set(numbers) - {backend_name()})))
    blocks = "-".join(map(str, RECIPE.filters))
    facts = {"preset": PRESET, "parameters": asdict(RECIPE), "precision": POLICY, "backend": backend_name(), "versions": numbers, "cores": cores, "accelerators": list(accelerators())}
    return facts, [f"Preset '{PRESET}': {len(RECIPE.filters)} blocks {blocks}, {RECIPE.convolutions} convolutions each, batches of {RECIPE.batch_size}; backend {backend_name()}",
                   software, where]


def speed(split, rounds, batches, plain_batches):
    """Print images a second of all contenders, round about; returns {name: Pace}, and the figures printed."""
    few, many = (split._replace(train=take(split.train, count), validation=take(split.validation, 2)) for count in (plain_batches, batches))
    contenders = {PLAIN: plain_contender(few), FULL: our_contender(many, IMAGE_SIZE), SMALL: our_contender(many, RECIPE.small_size)}
    found = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            found[name].append(contender.round(number))
    first = {name: results.pop(0) for name, results in found.items()}  # it compiles
    print(f"a, b, c in turn; batches in a round: {plain_batches} of a, {batches} of b and of c; rounds: {rounds} after one that does not count\n")
    print(f"{'training images a second':46}{'median':>9}{'least':>9}{'most':>9}{'times a':>10}{'XLA':>6}")
    paces, rates_kept = {}, {}
    for name, results in found.items():
        rates, validation, seconds = zip(*results)
        ratio = statistics.median(rate / plain[0] for rate, plain in zip(rates, found[PLAIN]))
        jit = "yes" if contenders[name].model.jit_compile else "no"
        print(f"{name:46}{statistics.median(rates):9.1f}{min(rates):9.1f}{max(rates):9.1f}{ratio:10.2f}{jit:>6}")
        rates_kept[name] = {"median": statistics.median(rates), "least": min(rates), "most": max(rates), "times plain Keras": ratio, "xla": jit == "yes"}
        paces[name] = Pace(statistics.median(rates), statistics.median(validation), first[name][2] - statistics.median(seconds), contenders[name].saving())
    print("'times a' is the median of the rounds' own ratios\n", flush=True)
    return paces, rates_kept


def longest_recipe(split, paces, seconds):
    """The preset with as many epochs as end within the seconds at these paces; None when not even one does."""
    by_size = {RECIPE.small_size: paces[SMALL], IMAGE_SIZE: paces[FULL]}

    def total(recipe):
        needed, begin = 0.0, 0
        for size, end in recipe.phases:
            pace = by_size[size]
            epoch = len(split.train) / pace.training + len(split.validation) / pace.validation + pace.saving
            needed, begin = needed + pace.start + epoch * (end - begin), end
        return needed

    epochs = 0
    while total(recipe_from(PRESET, epochs=epochs + 1)) <= seconds:
        epochs += 1
    return recipe_from(PRESET, epochs=epochs) if epochs else None


class TimeIsUp(Exception):
    """Ends a training in the middle of an epoch."""


class Minutes(keras.callbacks.Callback):
    """Validation accuracy at every full minute of training; that clock stands still while it is measured."""

    def __init__(self, validation, minutes, twin):
        super().__init__()
        self.validation, self.minutes, self.twin, self.twins = validation, minutes, twin, {}
        self.kept, self.rows, self.paused, self.epoch, self.started = None, [], 0.0, 0, time.monotonic()

    def clock(self):
        return time.monotonic() - self.started - self.paused

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        while self.clock() >= 60 * (len(self.rows) + 1):
            self.mark(min(batch + 1, self.params["steps"]))  # an accelerator tells of several steps at once
        if self.clock() >= 60 * self.minutes:
            raise TimeIsUp

    def on_train_end(self, logs=None):
        self.epoch, self.finished = self.epoch + 1, self.clock()
        self.last, _ = self.accuracy()

    def mark(self, batch):
        self.rows.append((self.epoch + batch / self.params["steps"], *self.accuracy()))

    def accuracy(self):
        """(validation accuracy, pixels a side) of the weights as they are, asked of a twin: the training is not disturbed."""
        began = time.monotonic()
        network = self.model.get_layer("three_blocks")
        size = network.input_shape[1]
        if size not in self.twins:
            self.twins[size] = self.twin(size), resized(self.validation.images, size)[..., None].astype("float32")
        twin, images = self.twins[size]
        if backend_name() == "jax":
            self.model.jax_state_sync()
        twin.set_weights(network.get_weights())
        right = twin.predict(images, batch_size=256, verbose=0).argmax(1) == self.validation.labels
        self.paused += time.monotonic() - began
        return float(right.mean()), size


def train_plain(split, minutes):
    """Train plain Keras until time is up; its callback."""
    classes = len(split.train.emotions)
    watch = Minutes(split.validation, minutes, lambda size: three_blocks(**RECIPE.shape, classes=classes))
    (images, labels), validation = arrays(split.train), arrays(split.validation)
    keras.utils.set_random_seed(0)
    try:
        plain_network(classes).fit(images, labels, batch_size=RECIPE.batch_size, epochs=sys.maxsize, validation_data=validation, verbose=0, callbacks=[watch])
    except TimeIsUp:
        pass
    return watch


def train_ours(split, recipe, minutes):
    """Train the recipe as emotion_maps.train does; its callback."""
    classes = len(split.train.emotions)
    watch = Minutes(split.validation, minutes, lambda size: three_blocks(**RECIPE.shape, classes=classes, precision=POLICY, twin=size))
    with tempfile.TemporaryDirectory() as folder:
        try:
            network, _ = fit(split, recipe, Path(folder), 0, POLICY, [watch])
            watch.kept = measure(network, split.validation, recipe)["validation_accuracy"]
        except TimeIsUp:
            print("Our schedule was cut short: the machine was slower than while its speed was measured")
    return watch


def accuracy_per_minute(split, paces, minutes):
    """Print the validation accuracy of plain Keras and of ours at every full minute; returns the figures, None when there are none."""
    recipe = longest_recipe(split, paces, 60 * minutes * (1 - RESERVE))
    if recipe is None:
        print(f"Accuracy per minute: no epoch of {len(split.train)} faces ends within {minutes:g} minutes here; give more")
        return None
    print(f"Accuracy per minute on {Path(split.train.source).name}: {len(split.train)} faces to train, {len(split.validation)} to validate")
    print(f"Plain Keras: Adam with its default settings. Ours: '{PRESET}' with as many epochs as end in {minutes:g} min at the speed above: {recipe.epochs}",
          flush=True)
    plain = train_plain(split, minutes)
    keras.utils.clear_session()
    ours = train_ours(split, recipe, minutes)
    print(f"\n{'minute':>6}{'plain Keras':>16}{'its epochs':>13}{'ours':>12}{'its epochs':>13}{'pixels':>9}")
    for minute in range(int(minutes)):
        left, right = (watch.rows[minute] if minute < len(watch.rows) else None for watch in (plain, ours))
        print(f"{minute + 1:6}" + (f"{left[1]:16.4f}{left[0]:13.2f}" if left else f"{'':29}")
              + (f"{right[1]:12.4f}{right[0]:13.2f}{right[2]:9}" if right else f"{'ended':>12}"))
    if ours.kept is not None:
        print(f"Ours ended after {ours.finished / 60:.1f} min with {ours.last:.4f}; with {f'the mean of its last {recipe.average} epochs and ' if recipe.average else ''}its normalizations measured anew {ours.kept:.4f}")
    print("A minute has compiling, validation after each epoch and, in ours, saving its state in it; not the table's own questions.")
    print("Small faces (see pixels) are validated small.")
    return {"minutes": minutes, "epochs": recipe.epochs, "plain": [row[1] for row in plain.rows], "ours": [row[1] for row in ours.rows],
            "pixels": [row[2] for row in ours.rows], "ended": None if ours.kept is None else {"minutes": ours.finished / 60, "last": ours.last, "kept": ours.kept}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (%(default)s)")
    parser.add_argument("--batches", type=int, default=10, help="batches of ours in a round (%(default)s)")
    parser.add_argument("--plain-batches", type=int, default=4, help="batches of plain Keras in a round (%(default)s)")
    parser.add_argument("--result", help="also write the figures to this JSON file")
    parser.add_argument("--minutes", type=float, default=0, help="then train each this long and compare accuracies; 0: do not")
    chosen = parser.parse_args()
    split = split_faces(load_faces(os.environ.get("EMOTION_MAPS_FER2013") or "drawn"))
    facts, lines = about()
    print("\n".join(lines))
    paces, rates = speed(split, chosen.rounds, chosen.batches, chosen.plain_batches)
    by_minute = accuracy_per_minute(split, paces, chosen.minutes) if chosen.minutes else None
    if chosen.result:
        source = Path(split.train.source).name
        words = "".join(f" --{name.replace('_', '-')} {value:g}" for name, value in vars(chosen).items() if name != "result" and value != parser.get_default(name))
        write_json(chosen.result, facts | {"data": source, "data_fingerprint": split_fingerprint(split), "rates": rates, "by_minute": by_minute, "command": f"EMOTION_MAPS_FER2013={source} KERAS_BACKEND={backend_name()} python .ci/bench_train.py{words} --result nbs/results/{Path(chosen.result).name}"})
    if not chosen.minutes:
        print("Accuracy per minute was not measured: say make bench-train MINUTES=10, or --minutes 10 (it takes twice that)")


if __name__ == "__main__":
    main()
