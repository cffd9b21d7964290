"""How fast the maps and the atlas are here: every layer's maps, and the statistics of every filter, beside a bare forward pass.

usage: python .ci/bench_maps.py [--rounds N] [--network brief|default] [--faces N] [--atlas-faces N]
Each row is the ratio of our time to the reference's: paired and interleaved repeats in one process, results on the host, median and quartiles.
The rows that take seconds a repeat get a quarter of the rounds (each row says how many), so that all is done in ten minutes.
The atlas is handed the faces' regions, and correlates filters on the share of the faces that it takes of FER2013's training faces: on photographs add the row of landmarks and regions, which are found once for each face.
The networks: the brief's shape (32-64-128, one convolution a block) with fresh weights, or the shipped one; the faces are drawn, with their true regions.
"""
import argparse
import contextlib
import io
from typing import Any

import numpy as np
from bench_attribution import Row, network, paired

from emotion_maps.ablation import mean_map, take_out
from emotion_maps.ablation import plan as every_filter
from emotion_maps.activation_maps import convolutional_layers, iterate_maps, pooled_maps
from emotion_maps.backend import compiled, to_numpy
from emotion_maps.core import peak_memory
from emotion_maps.data import Faces
from emotion_maps.drawn_faces import drawn_faces
from emotion_maps.face_regions import find_landmarks, region_masks
from emotion_maps.filter_atlas import COMPARED, gather, plan_atlas
from emotion_maps.optimised_images import optimise_filters

BATCH = 16  # what the passes take at once by default on a processor; a bare pass is not slower than with more
ATLAS_BATCH = 32  # the same for the atlas
TAKEN_OUT = 32  # faces of the ablation row
TRAINING_FACES = 28_709  # of FER2013: of fewer faces here, the filters are correlated on the same share


def rows(rounds: int, name: str, count: int, many: int) -> list[Row]:
    """The rows, printed as they come."""
    drawn = drawn_faces(train=count, test=0, seed=0)
    faces, masks = Faces(drawn.images, drawn.labels, drawn.names, drawn.usage), drawn.masks.astype("float32")
    images = drawn.images[..., None].astype("float32")
    model = network(name, images[:64])
    run, found = compiled(model), []

    def bare() -> None:
        for first in range(0, len(images), BATCH):
            to_numpy(run(images[first:first + BATCH]))

    def maps() -> None:
        for _ in iterate_maps(model, drawn.images, batch_size=BATCH):
            pass

    def silently(action: Any) -> Any:
        def silent() -> Any:
            with contextlib.redirect_stderr(io.StringIO()):
                return action()
        return silent

    def landmarks_and_regions() -> None:
        for first in range(0, count, BATCH):
            region_masks(find_landmarks(drawn.images[first:first + BATCH]).points)

    regions_of = lambda numbers: (masks[numbers], np.ones(len(numbers)))
    plan = plan_atlas(model, faces.images, regions_of, sample=64)
    means, last = mean_map(model, drawn.images, convolutional_layers(model)[-1]), convolutional_layers(model)[-1]
    few = faces[:TAKEN_OUT]
    again = np.arange(many) % count  # an atlas is made of thousands of faces, and building its graph takes a second
    tiled = images[again]

    def bare_over_many() -> None:
        for first in range(0, many, ATLAS_BATCH):
            to_numpy(run(tiled[first:first + ATLAS_BATCH]))

    compared = round(COMPARED * min(many / TRAINING_FACES, 1))
    crowd = Faces(faces.images[again], faces.labels[again], [f"{number:05d}" for number in range(many)], faces.usage[again])
    regions_of_crowd = lambda numbers: regions_of(numbers % count)
    for row in (lambda: paired("maps of every layer", maps, f"a bare pass over {count} faces", bare, rounds),
                lambda: paired("mean and maximum of every filter", lambda: pooled_maps(model, drawn.images, batch_size=BATCH), f"a bare pass over {count} faces", bare, rounds),
                lambda: paired("all statistics of the atlas, nulls too, regions given", silently(lambda: gather(model, crowd, regions_of_crowd, plan, batch_size=ATLAS_BATCH, compared=compared)), f"a bare pass over {many:,} faces", bare_over_many, max(rounds // 4, 3)),
                lambda: paired(f"landmarks and regions of {count} faces", landmarks_and_regions, f"a bare pass over {count} faces", bare, max(rounds // 4, 3)),
                lambda: paired(f"taking out the filters of {last}, {TAKEN_OUT} faces", silently(lambda: take_out(model, few, means, every_filter(means))), f"a bare pass over {count} faces", bare, max(rounds // 4, 3)),
                lambda: paired("optimising 16 filters, 2 starts, 8 steps", silently(lambda: optimise_filters(model, last, filters=range(16), starts=2, steps=8)), f"a bare pass over {count} faces", bare, max(rounds // 4, 3))):
        found.append(row())
        print(found[-1], flush=True)
    print(f"peak memory of this process: {peak_memory():,} MB")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--network", choices=("brief", "default"), default="brief")
    parser.add_argument("--faces", type=int, default=512)
    parser.add_argument("--atlas-faces", type=int, default=4096)
    given = parser.parse_args()
    rows(given.rounds, given.network, given.faces, given.atlas_faces)
