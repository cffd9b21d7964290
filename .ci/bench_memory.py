"""How much faster passes and training are where the C library keeps freed memory (`keep_memory`) than where it gives it back to the system.

usage: [KERAS_BACKEND=torch] python .ci/bench_memory.py [--rounds N] [--result FILE]     (with --rounds 3, on two slow cores: 19 minutes under TensorFlow, 13 under torch)
Each row is the ratio of the time without to the time with it: the two take turns, each in a fresh process (what a process has kept, it keeps), median and quartiles over the rounds.
The faces are drawn; the passes are those of the shipped network, the trainings those of the presets, at 48 pixels.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
from bench_attribution import in_turn

from emotion_maps.backend import backend_name, compiled, keep_memory, to_numpy
from emotion_maps.core import IMAGE_SIZE, Progress, peak_memory, write_json
from emotion_maps.data import load_faces, model_input, split_faces
from emotion_maps.drawn_faces import drawn_faces
from emotion_maps.recipes import load_pretrained
from emotion_maps.train import ready_to_fit, recipe_from, versions

FACES = 512
GIVEN_BACK = {"MALLOC_ARENA_TEST": "8"}  # glibc's own value: changes nothing, but is a setting, so ours are left out


def passes(batch):
    """A function that asks the shipped network about all faces."""
    images, run = model_input(drawn_faces(train=FACES, test=0, seed=0).images), compiled(load_pretrained("default"))
    return lambda: [to_numpy(run(images[first:first + batch])) for first in range(0, len(images), batch)]


def steps(preset):
    """A function that trains a preset's network on all faces once."""
    split = split_faces(load_faces(f"drawn:{FACES + 70},70"))
    split = split._replace(train=split.train[:FACES])
    model, batches, _ = ready_to_fit(split, recipe_from(preset), IMAGE_SIZE)
    return lambda: model.fit(batches, epochs=1, verbose=0)


ROWS = {"passes, 256 faces at once": lambda: passes(256), "passes, 32 faces at once": lambda: passes(32), "training, preset hour": lambda: steps("hour"), "training, preset half": lambda: steps("half")}


def timed(row):
    """In a process of its own: the seconds and the cleared pages of the second of two runs, and the most memory held."""
    action = ROWS[row]()
    action()
    pages, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    action()
    return {"seconds": time.perf_counter() - began, "pages": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - pages, "memory": peak_memory()}


def asked(row, environment, bar):
    """What `timed` finds under an environment."""
    found = subprocess.run([sys.executable, __file__, "--row", row], env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True)
    bar.advance()
    return json.loads(found.stdout.splitlines()[-1])


def compared(row, rounds, bar):
    """Both in turn: what is told of a row."""
    pairs = in_turn(lambda: asked(row, GIVEN_BACK, bar), lambda: asked(row, {}, bar), rounds)
    of = lambda name: np.array([[one[name] for one in pair] for pair in pairs], float)
    low, median, high = np.percentile(of("seconds")[:, 0] / of("seconds")[:, 1], (25, 50, 75))
    return {"row": row, "faster": median, "quartiles": [low, high], "rounds": rounds, "images a second": list(FACES / np.median(of("seconds"), 0)),
            "pages": list(np.median(of("pages"), 0)), "peak memory in MB": list(np.median(of("memory"), 0))}


def main(given):
    """The rows, printed and with --result kept."""
    if not keep_memory():
        sys.exit("Memory is not kept here: this is no glibc, or the environment settles its malloc (MALLOC_…, GLIBC_TUNABLES). There is nothing to compare.")
    with Progress(2 * len(ROWS) * given.rounds, "Memory") as bar:
        rows = [compared(row, given.rounds, bar) for row in ROWS]
    for row in rows:
        (before, after), (some, fewer), (less, more) = row["images a second"], row["pages"], row["peak memory in MB"]
        print(f"{row['row']:26} {row['faster']:5.2f}× as fast ({row['quartiles'][0]:.2f} to {row['quartiles'][1]:.2f}, {row['rounds']} rounds); images a second {before:.1f} and {after:.1f}; pages cleared {some:,.0f} and {fewer:,.0f}; at most {less:,.0f} and {more:,.0f} MB held")
    if given.result:
        write_json(given.result, {"command": f"KERAS_BACKEND={backend_name()} python .ci/bench_memory.py --rounds {given.rounds} --result nbs/results/{os.path.basename(given.result)}",
                                  "backend": backend_name(), "cores": os.cpu_count(), "faces": FACES, "rows": rows, "versions": versions()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--result", help="also write the figures to this JSON file")
    parser.add_argument("--row", choices=list(ROWS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.row:
        print(json.dumps(timed(given.row)))
    else:
        main(given)
