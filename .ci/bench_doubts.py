"""Whose doubts about labels are worth having? Several judges of FER2013's labels, held against pictures whose copies outvote their label.

usage: python .ci/bench_doubts.py FER2013.zip [--kept FOLDER]     (what the judges say is kept in FOLDER, and not asked again)

Where three pictures or more are the same or nearly so, and most of them carry one label, the others' labels are likely wrong: nobody planted these errors. A judge is the better the
more doubtful it finds those faces among all of such groups. The shipped network has learnt the majority's label from the copies; the networks of the folds have never seen the group.
"""
import argparse
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from emotion_maps.audit import TEST_PARTS, compared, doubtful_labels, out_of_fold, picture_groups, read_probabilities, save_probabilities
from emotion_maps.core import write_json
from emotion_maps.data import load_faces, split_faces
from emotion_maps.evaluate import opinions_of, predict
from emotion_maps.train import fit, recipe_from

RESULT = Path(__file__).resolve().parents[1] / "nbs" / "results" / "01b_doubts.json"
SMALL = {"filters": (16, 32, 64), "convolutions": 1, "dense": (512, 256), "epochs": 8, "small_share": 0.5, "label_smoothing": 0.1, "average": 0}  # of the preset hour


def small_network(split):
    """A predictor for `out_of_fold`: what a small network says that has learnt from other faces."""
    def predictor(learn, held):
        with tempfile.TemporaryDirectory() as folder:
            model, _ = fit(split._replace(train=learn), recipe_from("hour", **SMALL), Path(folder) / "fit")
        return predict(model, held.images)

    return predictor


def outvoted(labels: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of faces in groups of three or more of which over half carry one label; and which of these faces carry another."""
    rows, wrong = [], []
    for group in np.flatnonzero(np.bincount(groups) > 2):
        own = np.flatnonzero(groups == group)
        votes = np.bincount(labels[own])
        if 2 * votes.max() > len(own):
            rows += [*own]
            wrong += [*(labels[own] != votes.argmax())]
    return np.array(rows), np.array(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive")
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "emotion_maps_doubts")
    given = parser.parse_args()
    faces = load_faces(given.archive)
    groups = picture_groups(faces, compared(faces))
    judges = {"histograms of gradients, 5 folds": lambda: out_of_fold(faces, folds=5, groups=groups),
              "small network, 3 folds": lambda: out_of_fold(faces, small_network(split_faces(faces)), 3, groups=groups),
              "default, which learnt the labels": lambda: opinions_of("default", faces)}
    train, rows = ~np.isin(faces.usage, TEST_PARTS), []
    found, wrong = outvoted(faces.labels, groups)
    found, wrong = found[train[found]], wrong[train[found]]
    for judge, ask in judges.items():
        path = given.kept / f"{judge.split(',')[0].replace(' ', '_')}.npz"
        said = read_probabilities(path if path.is_file() else save_probabilities(path, faces, ask()), faces)
        table = doubtful_labels(faces.labels, said)
        order = np.argsort(-np.where(train, table.score, -1), kind="stable")
        row = {"judge": judge, "accuracy": {part: float((said.argmax(1) == faces.labels)[faces.usage == part].mean()) for part in np.unique(faces.usage)},
               "doubtful": int(table.doubtful[train].sum()), "area under the curve": float(roc_auc_score(wrong, table.score[found]))}
        for first in (500, 2000):
            among = np.isin(found, order[:first])
            row[f"of the first {first}"] = {"faces in such groups": int(among.sum()), "outvoted": int(wrong[among].sum())}
        rows.append(row)
        print(row, flush=True)
    write_json(RESULT, {"command": f"python .ci/bench_doubts.py {Path(given.archive).name}", "data_fingerprint": faces.fingerprint, "faces in such groups": len(found), "outvoted": int(wrong.sum()), "rows": rows})


if __name__ == "__main__":
    main()
