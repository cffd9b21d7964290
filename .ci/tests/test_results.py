"""The kept results are about the networks that are shipped: new weights cannot leave old numbers behind."""
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

RESULTS = Path(__file__).parent.parent.parent / "nbs" / "results"
EXPECTED = {"03_default.json", "04c_trust.json", "05_filter_atlas.json", "05a_optimised_images.json", "05b_ablation.parquet"}


def notes(path):
    """What a result says about what made it."""
    if path.suffix == ".json":
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    from emotion_maps.core import read_table

    return read_table(path).attrs


def about(name):
    """The results that name a shipped network and carry the fingerprint of its model: {file: fingerprint}."""
    kept = {path.name: notes(path) for path in sorted(RESULTS.iterdir()) if path.suffix in (".json", ".parquet")}
    return {file: found["model_fingerprint"] for file, found in kept.items() if "model_fingerprint" in found and Path(str(found.get("model"))).stem == name}


def fingerprints(path):
    """How results know a network: by its file, as chapters 03 and 04c, or by its weights as Keras has them, as chapter 05 and those that build on it."""
    from emotion_maps.core import fingerprint

    with np.load(path, allow_pickle=False) as arrays:
        weights = [arrays[key].astype("float32") for key in sorted(arrays.files)]
    return {fingerprint(np.fromfile(path, "uint8")), fingerprint(*weights)}


def test_results_of_the_other_networks_are_of_those_shipped(root):
    weights = root / "emotion_maps" / "weights"
    kept, known = about("apart"), fingerprints(weights / "apart.npz")
    assert "03_apart.json" in kept
    assert {file: mark for file, mark in kept.items() if mark not in known} == {}
    for result in ("02a_views.json", "05b_narrower.json"):
        for name, mark in notes(RESULTS / result)["networks"].items():
            assert mark == hashlib.sha256((weights / f"{name}.npz").read_bytes()).hexdigest(), (result, name)


@pytest.fixture
def shipped(root):
    return root / "emotion_maps" / "weights" / "default.npz"


def test_results_are_of_the_shipped_network(shipped):
    kept, known = about("default"), fingerprints(shipped)
    assert EXPECTED <= kept.keys()
    assert {file: mark for file, mark in kept.items() if mark not in known} == {}


def test_every_training_and_score_says_how_it_was_made_and_of_what():
    lacking = {path.name: [name for name in ("command", "data_fingerprint") if not notes(path).get(name)] for path in sorted(RESULTS.glob("0[23]*.json"))}
    assert len(lacking) > 10 and {name: missing for name, missing in lacking.items() if missing} == {}


def test_one_other_weight_is_seen_in_every_result(shipped, tmp_path):
    with np.load(shipped, allow_pickle=False) as arrays:
        weights = {key: arrays[key] for key in arrays.files}
    weights["weight001"] = weights["weight001"] + np.eye(1, len(weights["weight001"]), dtype="float16")[0]
    np.savez_compressed(tmp_path / "default.npz", **weights)
    assert not fingerprints(tmp_path / "default.npz") & set(about("default").values())
