"""How fast attribution is here: Grad-CAM beside a forward and a backward pass, Score-CAM and SmoothGrad beside tf-keras-vis.

usage: python .ci/bench_attribution.py [--rounds N] [--network brief|default]
Each row is the ratio of our time to the reference's: paired and interleaved repeats in one process, results on the host, median and quartiles.
The networks: the brief's shape (32-64-128, one convolution a block) with fresh weights, or the shipped one; the faces are drawn.
"""
import argparse
import contextlib
import importlib
import importlib.util
import io
import os
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from emotion_maps.activation_maps import convolutional_layers
from emotion_maps.attribution import _answer_model, _score, attribute
from emotion_maps.backend import accelerators, backend_name, gradient_pass, import_keras, to_numpy
from emotion_maps.drawn_faces import drawn_faces
from emotion_maps.recipes import load_pretrained
from emotion_maps.train import three_blocks

SAMPLES = 32  # of SmoothGrad, for both


class Row(NamedTuple):
    """What was compared with what, and the ratios of the times: median and quartiles; the median seconds of both."""
    name: str
    reference: str
    median: float
    quartiles: tuple[float, float]
    rounds: int
    seconds: tuple[float, float]

    def __str__(self) -> str:
        return (f"{self.name:34} {self.median:5.2f}× ({self.quartiles[0]:.2f} to {self.quartiles[1]:.2f}, {self.rounds} rounds) of {self.reference};"
                f" medians {self.seconds[0] * 1e3:.1f} and {self.seconds[1] * 1e3:.1f} ms")


def seconds(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def in_turn(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> list[tuple[Any, Any]]:
    """What both give in every round, the first one to be called changing from round to round."""
    return [(ours(), theirs()) if number % 2 else (theirs(), ours())[::-1] for number in range(rounds)]


def paired(name: str, ours: Callable[[], Any], reference: str, theirs: Callable[[], Any], rounds: int) -> Row:
    """Both in turn, the first one changing from round to round, after two rounds that do not count."""
    for action in (ours, theirs) * 2:
        action()
    times = np.array(in_turn(lambda: seconds(ours), lambda: seconds(theirs), rounds))
    low, median, high = np.percentile(times[:, 0] / times[:, 1], (25, 50, 75))
    return Row(name, reference, median, (low, high), rounds, tuple(np.median(times, 0)))


def both_passes(model: Any, images: np.ndarray) -> Callable[[], Any]:
    """The yardstick: one compiled pass forward to the logits and backward to the input, logits and gradient on the host."""
    run, predicted = gradient_pass(_answer_model(model), _score), np.full(len(images), -1, "int32")

    def action() -> list[np.ndarray]:
        return [to_numpy(found) for found in run(images, predicted)]
    return action


def tf_keras_vis(module: str, name: str, model: Any) -> Any:
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    return getattr(importlib.import_module(f"tf_keras_vis.{module}"), name)(model, model_modifier=ReplaceToLinear(), clone=True)


def quietly(action: Callable[[], Any]) -> Callable[[], Any]:
    """An action without its progress bars."""
    def silent() -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return action()
    return silent


def grad_cam_rows(model: Any, images: np.ndarray, rounds: int) -> list[Row]:
    rows = []
    for count in (1, len(images)):
        some = images[:count]
        rows.append(paired(f"Grad-CAM, {count} face{'s' * (count > 1)}", lambda: attribute(model, some), "a forward and a backward pass", both_passes(model, some), rounds))
    return rows


def rows_beside_tf_keras_vis(model: Any, images: np.ndarray, rounds: int) -> list[Row]:
    if backend_name() != "tensorflow" or importlib.util.find_spec("tf_keras_vis") is None:
        return []
    from tf_keras_vis.utils.scores import CategoricalScore
    layer, targets = convolutional_layers(model)[-1], np.arange(len(images)) % model.output_shape[-1]
    score, given, rows = CategoricalScore(targets.tolist()), images.astype("float32"), []
    cam, score_cam, saliency = (tf_keras_vis(*names, model) for names in (("gradcam", "Gradcam"), ("scorecam", "Scorecam"), ("saliency", "Saliency")))
    at = {"penultimate_layer": layer, "normalize_cam": False}
    rows.append(paired(f"Grad-CAM, {len(images)} faces", lambda: attribute(model, images, "grad-cam", targets), "tf-keras-vis", lambda: cam(score, given, **at), rounds))
    few = slice(0, 4)
    four = CategoricalScore(targets[few].tolist())
    rows.append(paired("Score-CAM, 4 faces", lambda: attribute(model, images[few], "score-cam", targets[few]), "tf-keras-vis",
                       quietly(lambda: score_cam(four, given[few], **at)), rounds))
    rows.append(paired(f"SmoothGrad, {SAMPLES} samples, 4 faces", lambda: attribute(model, images[few], "smoothgrad", targets[few], samples=SAMPLES), "tf-keras-vis",
                       lambda: saliency(four, given[few], smooth_samples=SAMPLES, smooth_noise=0.15, normalize_map=False), rounds))
    return rows


def network(name: str, images: np.ndarray) -> Any:
    """The brief's shape with fresh weights, its normalisation set by these images; or the shipped network."""
    keras = import_keras()
    if name == "default":
        return load_pretrained("default")
    keras.utils.set_random_seed(0)
    model = three_blocks((32, 64, 128))
    for _ in range(40):
        model(images, training=True)
    return model


def attribution_rows(rounds: int = 20, name: str = "brief", faces: int = 32) -> list[Row]:
    """All rows, printed as they come."""
    images = drawn_faces(train=7, test=faces, seed=0).images[7:, ..., None].astype("float32")
    model, rows = network(name, images), []
    for measure in (grad_cam_rows, rows_beside_tf_keras_vis):
        for row in measure(model, images, rounds):
            print(row, flush=True)
            rows.append(row)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="paired repeats (default 20)")
    parser.add_argument("--network", choices=("brief", "default"), default="brief")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"Attribution, network {options.network}, {backend_name()}, {', '.join(accelerators()) or f'{len(os.sched_getaffinity(0))} processor cores'}")
    attribution_rows(options.rounds, options.network)
