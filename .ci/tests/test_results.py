"""The kept results are about the networks that are shipped: new weights cannot leave old numbers behind."""
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

RESULTS = Path(__file__).parent.parent.parent / "nbs" / "results"
EXPECTED = {"03_default.json", "04c_trust.json", "05_filter_atlas.json", "05a_optimised_images.json", "05b_ablation.parquet"}


@pytest.fixture(scope="module")
def remeasuring(script):
    return script("remeasure")


@pytest.fixture(scope="module")
def about(remeasuring):
    """A function that gives the results that name a shipped network and carry the fingerprint of its model: {file: fingerprint}."""
    kept = {path.name: remeasuring.notes(path) for path in sorted(RESULTS.iterdir()) if path.suffix in (".json", ".parquet")}
    return lambda name: {file: found["model_fingerprint"] for file, found in kept.items() if "model_fingerprint" in found and Path(str(found.get("model"))).stem == name}


def test_results_of_the_other_networks_are_of_those_shipped(root, remeasuring, about):
    weights = root / "emotion_maps" / "weights"
    kept, known = about("apart"), remeasuring.fingerprints(weights / "apart.npz")
    assert "03_apart.json" in kept
    assert {file: mark for file, mark in kept.items() if mark not in known} == {}
    for result in ("02a_normalizations.json", "02a_views.json", "05b_narrower.json"):
        for name, mark in remeasuring.notes(RESULTS / result)["networks"].items():
            assert mark == hashlib.sha256((weights / f"{name}.npz").read_bytes()).hexdigest(), (result, name)


@pytest.fixture
def shipped(root):
    return root / "emotion_maps" / "weights" / "default.npz"


def test_results_are_of_the_shipped_network(shipped, remeasuring, about):
    kept, known = about("default"), remeasuring.fingerprints(shipped)
    assert EXPECTED <= kept.keys()
    assert {file: mark for file, mark in kept.items() if mark not in known} == {}


def test_every_training_and_score_says_how_it_was_made_and_of_what(remeasuring):
    lacking = {path.name: [name for name in ("command", "data_fingerprint") if not remeasuring.notes(path).get(name)] for path in sorted(RESULTS.glob("0[23]*.json"))}
    assert len(lacking) > 10 and {name: missing for name, missing in lacking.items() if missing} == {}


def test_one_other_weight_is_seen_in_every_result(shipped, tmp_path, remeasuring, about):
    with np.load(shipped, allow_pickle=False) as arrays:
        weights = {key: arrays[key] for key in arrays.files}
    weights["weight001"] = weights["weight001"] + np.eye(1, len(weights["weight001"]), dtype="float16")[0]
    np.savez_compressed(tmp_path / "default.npz", **weights)
    assert not remeasuring.fingerprints(tmp_path / "default.npz") & set(about("default").values())


def test_results_of_other_weights_are_measured_again_in_an_order_that_runs(remeasuring, tmp_path):
    assert remeasuring.stale_results(RESULTS) == []
    shutil.copytree(RESULTS, tmp_path / "results")
    for name, key in (("03_champion.json", "model_fingerprint"), ("05_filter_atlas.json", "model_fingerprint"), ("05c_answer.json", "model_fingerprint"), ("05b_narrower.json", "networks")):
        path = tmp_path / "results" / name
        said = json.loads(path.read_text())
        path.write_text(json.dumps(said | {key: {"default": "another"} if key == "networks" else "another"}))
    steps = remeasuring.stale_results(tmp_path / "results")
    assert [(step.name, step.after) for step in steps] == [("05_filter_atlas.json", ""), ("05b_narrower.json", "05_filter_atlas.json"), ("05c_answer.json", "05_filter_atlas.json"), ("03_champion.json", "")]  # what they wait for in between is not stale


def test_the_longest_chain_through_a_step_counts_all_that_wait_in_it(remeasuring):
    before = {"alone": "", "first": "", "second": "first", "third": "second", "aside": "first"}
    assert {name: remeasuring.longest_chain(name, before) for name in before} == {"alone": 1, "first": 3, "second": 3, "third": 3, "aside": 2}


def test_a_step_keeps_its_result_where_it_was(remeasuring):
    from emotion_maps.core import MissingStepError

    atlas = remeasuring.Step("05_filter_atlas.json", "papermill nbs/05_filter_atlas.ipynb out.ipynb -p data fer2013.zip")
    environment, words = remeasuring.ready_to_run(atlas, "/faces/fer.zip", "/tmp/run.ipynb")
    assert environment == {"KERAS_BACKEND": "tensorflow"} and words[3:] == ["nbs/05_filter_atlas.ipynb", "/tmp/run.ipynb", "-p", "data", "/faces/fer.zip", "-p", "result_file", "nbs/results/05_filter_atlas.json"]
    champion = remeasuring.Step("champion.json", "papermill nbs/02a_recipes.ipynb out.ipynb -p mirror default,half -p ship_as champion")
    assert "result_file" not in remeasuring.ready_to_run(champion, "fer.zip", "run.ipynb")[1]
    views = remeasuring.Step("02a_views.json", "KERAS_BACKEND=jax python .ci/bench_views.py fer2013.zip --shift 2")
    assert remeasuring.ready_to_run(views, "fer.zip", "")[0] == {"KERAS_BACKEND": "jax"} and remeasuring.ready_to_run(views, "fer.zip", "")[1][1:] == [".ci/bench_views.py", "fer.zip", "--shift", "2", "--result", "nbs/results/02a_views.json"]
    with pytest.raises(MissingStepError, match="lost.keras"):
        remeasuring.ready_to_run(atlas._replace(command=f"{atlas.command} -p control models/lost.keras"), "fer.zip", "")


def test_what_waits_is_run_after_and_a_failure_stops_only_what_waits_for_it(remeasuring, monkeypatch, capsys):
    from emotion_maps.core import ModelError

    steps, ran = [remeasuring.Step("second.json", "python b", "first.json"), remeasuring.Step("first.json", "python a"), remeasuring.Step("lost.json", "python c --more models/lost.keras")], []
    monkeypatch.setattr(remeasuring, "stale_results", lambda results: steps)
    monkeypatch.setattr(remeasuring, "measure", lambda step, data, threads: ran.append(step.name) or 1.5)
    remeasuring.remeasure("fer.zip", 2)
    said = capsys.readouterr().out
    assert ran == ["first.json", "second.json"] and "2/2 second.json: 1.5 minutes" in said and "left: lost.json" in said

    def broken(step, data, threads):
        if step.name == "first.json":
            raise ModelError("first.json broke", "mend it")
        return ran.append(step.name) or 1.5

    steps, ran[:] = [*steps[:2], remeasuring.Step("third.json", "python d", "second.json"), remeasuring.Step("other.json", "python e")], []
    monkeypatch.setattr(remeasuring, "measure", broken)
    with pytest.raises(ModelError, match="first.json broke"):
        remeasuring.remeasure("fer.zip", 1)
    said = capsys.readouterr().out
    assert ran == ["other.json"] and "failed: first.json broke" in said and all(f"left: {name}.json, which waits" in said for name in ("second", "third"))
