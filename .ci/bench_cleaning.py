"""What leaving faces out of training does to the accuracy on PublicTest: each kind of cleaning of 01b_audit, a small network, as many steps for all. The shipped network doubts the labels.

usage: python .ci/bench_cleaning.py FER2013.zip [--seeds 2] [--epochs 6]     (what is in nbs/results/01b_cleaning.json already, from as many faces, is not done again)
"""
import argparse
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from emotion_maps.audit import CLEANING, REASONS, audit, clean
from emotion_maps.core import read_json, write_json
from emotion_maps.data import copies_in, load_faces, split_faces
from emotion_maps.evaluate import opinions_of, predict
from emotion_maps.train import fit, recipe_from, versions

RESULT = Path(__file__).resolve().parents[1] / "nbs" / "results" / "01b_cleaning.json"
BY_CHANCE = "as many by chance as doubtful labels"
KINDS = {"nothing": (), "doubtful labels": ("doubtful_label",), BY_CHANCE: (), "repeats and leaks": ("repeat", "leak"), "near repeats and copies": ("near_repeat", "copies"),
         "conflicts, blanks, hardly a face": ("conflict", "blank", "hardly_a_face"), "all but doubtful labels": CLEANING}
NETWORK = {"filters": (16, 32, 64), "convolutions": 1, "block_dropout": 0.1, "dense_dropout": 0.25, "erase": 0.0, "mixup": 0.0, "label_smoothing": 0.0, "warm_up": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6, help="with nothing left out; where fewer faces are left, more in proportion")
    given = parser.parse_args()
    faces = load_faces(given.archive)
    split = split_faces(faces)
    test = split.validation
    apart = ~copies_in(test, split.train)
    recipe = recipe_from("best", epochs=given.epochs, **NETWORK)
    about = {"command": f"python .ci/bench_cleaning.py {Path(given.archive).name} --seeds {given.seeds} --epochs {given.epochs}", "data_fingerprint": faces.fingerprint,
             "recipe": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}, "test": len(test), "test without copies": int(apart.sum())}
    known = read_json(RESULT) if RESULT.is_file() else {}
    rows = known["rows"] if all(known.get(name) == about[name] for name in ("data_fingerprint", "recipe")) else []
    with tempfile.TemporaryDirectory() as folder:
        report = audit(faces, REASONS, opinions_of("default", faces))
        stays = {kind: np.isin(split.train.names, clean(faces, report, reasons).faces.names) for kind, reasons in KINDS.items() if reasons}
        for seed in range(given.seeds):
            for kind, reasons in KINDS.items():
                began, left = time.monotonic(), stays.get(kind, np.ones(len(split.train), bool))
                if kind == BY_CHANCE:
                    left[np.random.default_rng(seed).choice(len(left), (~stays["doubtful labels"]).sum(), replace=False)] = False
                if any((row["left out"], row["seed"], row["faces"]) == (kind, seed, left.sum()) for row in rows):
                    continue
                rows = [row for row in rows if (row["left out"], row["seed"]) != (kind, seed)]  # what another audit left
                epochs = round(given.epochs * len(left) / left.sum())
                model, _ = fit(split._replace(train=split.train[left]), replace(recipe, epochs=epochs), Path(folder) / f"{kind}_{seed}", seed)
                right = predict(model, test.images).argmax(1) == test.labels
                rows.append({"left out": kind, "reasons": list(reasons), "seed": seed, "faces": int(left.sum()), "epochs": epochs, "accuracy": float(np.mean(right)),
                             "without copies": float(np.mean(right[apart])), "seconds": round(time.monotonic() - began)})
                print(rows[-1], flush=True)
                write_json(RESULT, about | {"versions": versions(), "rows": rows})


if __name__ == "__main__":
    main()
