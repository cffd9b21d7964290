"""What the mirror image, shifted views and further networks each add to the shipped network, on the faces of FER2013 that choose between them: PublicTest.

usage: python .ci/bench_views.py fer2013.zip [--shift PIXELS] [--more NETWORK,…] [--result FILE]     (minutes)

Every network is asked alone, with default, and with all that are named before it: default, the champion's others, the other shipped ones, then those of --more.
"""
import argparse
from pathlib import Path

import numpy as np
from on_public_test import call, keep
from scipy.stats import binomtest

from emotion_maps.core import IMAGE_SIZE, ParameterError, Progress
from emotion_maps.data import load_faces, model_input, split_faces
from emotion_maps.evaluate import accuracy_interval
from emotion_maps.recipes import describe_model, open_model, pretrained_names
from emotion_maps.train import is_of_its_faces

FIRST = "default"


def views_of(images, shift):
    """{name: images}: as they are, mirrored, and each of these shifted by some pixels in four directions (what comes in repeats the edge)."""
    wide = np.pad(images, ((0, 0), (shift, shift), (shift, shift)), "edge")
    size = images.shape[1]
    moves = {"": (shift, shift), " up": (2 * shift, shift), " down": (0, shift), " left": (shift, 2 * shift), " right": (shift, 0)}
    moved = {name: wide[:, row:row + size, column:column + size] for name, (row, column) in moves.items()}
    return {f"{side}{name}": faces if side == "plain" else faces[:, :, ::-1] for side in ("plain", "mirrored") for name, faces in moved.items() if shift or not name}


def kinds(views, shift):
    """{what is asked about: the names of the views}, of all views."""
    return {"the face": ["plain"], "and its mirror image": ["plain", "mirrored"]} | ({f"and both shifted by {shift} pixels in four directions": views} if shift else {})


def compared(right, first):
    """How two networks' right answers (n,) bool differ: faces that only one gets right, and the exact p of McNemar's test (1947) of as many of either kind."""
    more, fewer = int((right & ~first).sum()), int((first & ~right).sum())
    return {"only_this": more, f"only_{FIRST}": fewer, "p": float(binomtest(more, more + fewer).pvalue) if more + fewer else 1.0}


def surprise(logs, labels):
    """The mean negative log likelihood of labels (n,) under averaged log-probabilities (n, classes), which no longer sum to 1."""
    return float((np.logaddexp.reduce(logs, 1) - logs[np.arange(len(labels)), labels]).mean())


def table(logs, labels, shift):
    """A row for every choice of networks and views, from the log-probabilities {(network, view): (n, classes)}."""
    networks, views_made = (list(dict.fromkeys(names)) for names in zip(*logs))
    choices = list(dict.fromkeys([*((name,) for name in networks), *((FIRST, name) for name in networks if name != FIRST), *(tuple(networks[:count]) for count in range(2, len(networks) + 1))]))
    means = {(chosen, what): np.mean([logs[name, view] for name in chosen for view in views], 0) for chosen in choices for what, views in kinds(views_made, shift).items()}
    right = {asked: mean.argmax(1) == labels for asked, mean in means.items()}
    return [{"networks": list(chosen), "asked about": what, "passes": len(chosen) * len(kinds(views_made, shift)[what]), "accuracy": float(right[chosen, what].mean()), "nll": surprise(mean, labels),
             "interval": list(accuracy_interval(int(right[chosen, what].sum()), len(labels))), **compared(right[chosen, what], right[(FIRST,), "the face"]), "same_views": compared(right[chosen, what], right[(FIRST,), what])}
            for (chosen, what), mean in means.items()]


def measure(chosen):
    """Measure, print, and with --result keep; the faces of the test part stay unseen. Raises `DataError`, `ParameterError`."""
    if not 0 <= chosen.shift < IMAGE_SIZE // 2:
        raise ParameterError(f"--shift {chosen.shift} is no number of pixels", f"give a whole number from 0 to {IMAGE_SIZE // 2 - 1}")
    split = split_faces(load_faces(chosen.data))
    faces = split.validation
    together = describe_model("champion").manifest["mirror"]["of"]
    shipped = sorted((name for name in pretrained_names() if "mirror" not in describe_model(name).manifest), key=lambda name: (name != FIRST, name not in together, name))
    more = [name for name in chosen.more.split(",") if name]
    networks = {Path(name).stem: describe_model(name) for name in shipped + more}
    if len(networks) < len(shipped + more):
        raise ParameterError(f"--more {chosen.more} names a network twice", "name each once, and none of the shipped ones")
    for name, found in networks.items():
        if not is_of_its_faces(found.manifest, split):
            raise ParameterError(f"{name} was trained on other faces than {chosen.data} holds", "give networks of these faces")
    views, logs = views_of(faces.images, chosen.shift), {}
    with Progress(len(networks) * len(views), "Views") as bar:
        for name, given in zip(networks, shipped + more):
            model = open_model(given).model
            for view, images in views.items():
                logs[name, view] = np.log(model.predict(model_input(images), batch_size=256, verbose=0).clip(1e-30))
                bar.advance()
    rows = table(logs, faces.labels, chosen.shift)
    told = f" --shift {chosen.shift}" + (" --more " + ",".join("models/" + Path(name).name for name in more) if more else "")
    marks = {name: found.manifest.get("sha256") or found.manifest["fingerprint"] for name, found in networks.items()}
    keep(chosen, "bench_views.py", split, marks, {"rows": rows, "faces": len(faces), "shift": chosen.shift}, told)
    for row in rows:
        print(f"{' + '.join(row['networks']):28} {row['asked about']:48} {row['passes']:3} passes  {row['accuracy']:.4f}  {row['only_this']:3} against {row[f'only_{FIRST}']:3}, p {row['p']:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--shift", type=int, default=2, help="pixels (%(default)s)")
    parser.add_argument("--more", default="", help="further networks, their paths with commas between them")
    call(measure, parser)
