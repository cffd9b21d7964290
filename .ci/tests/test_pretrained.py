"""The shipped networks: whole, scored with the very file, as good as their card says, and made again by the commands that are kept."""
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

NAMES = ["apart", "champion", "default", "half"]
NOTEBOOKS = Path(__file__).parent.parent.parent / "nbs"
TRAININGS = sorted((NOTEBOOKS / "results").glob("02_train_*.json"))
MEANS = sorted((NOTEBOOKS / "results").glob("02a_train_*.json"))


@pytest.fixture(scope="module", params=NAMES)
def shipped(request):
    from emotion_maps.recipes import open_pretrained

    return open_pretrained(request.param)


@pytest.fixture
def card(shipped, root):
    return json.loads((root / "nbs" / "results" / f"03_{shipped.manifest['name']}.json").read_text())


def test_every_shipped_network_is_tested():
    from emotion_maps.recipes import pretrained_names

    assert pretrained_names() == NAMES


def test_card_is_about_this_very_file(shipped, card):
    from emotion_maps.train import file_fingerprint

    assert card["model_fingerprint"] == file_fingerprint(shipped)
    assert card["data_fingerprint"] == shipped.manifest["data_fingerprint"]
    assert card["calibration"]["ece"] < 0.03  # as was asked of every network
    assert card["note"] and card["stress"] and card["answered"] and card["without_copies"]["n"] < card["n"]


def test_default_is_as_good_as_was_asked(root):
    card = json.loads((root / "nbs" / "results" / "03_default.json").read_text())
    assert card["accuracy"] >= 0.70


def test_default_has_the_shape_of_the_brief():
    from emotion_maps.recipes import open_pretrained

    shipped = open_pretrained("default")
    kinds = [type(layer).__name__ for layer in shipped.model.layers]
    assert kinds.count("MaxPooling2D") == 3 and {"Conv2D", "BatchNormalization", "Dropout", "Flatten"} <= set(kinds)
    assert [layer.units for layer in shipped.model.layers if type(layer).__name__ == "Dense"] == [512, 256, 7]
    assert shipped.model.input_shape == (None, 48, 48, 1) and {weight.dtype for weight in shipped.model.weights} == {"float32"}


def views_of(images, shift):
    """The face and its mirror image, (n, 48, 48, 1), then each of them moved up, down, left and right."""
    corners, views = [(2 * shift, shift), (0, shift), (shift, 2 * shift), (shift, 0)], [images, images[:, :, ::-1]]
    for faces in (images, images[:, :, ::-1]):
        wide = np.pad(faces, ((0, 0), (shift, shift), (shift, shift), (0, 0)), "edge")
        views += [wide[:, row : row + 48, column : column + 48] for row, column in corners]
    return views


def test_champion_is_the_mean_of_its_members_on_its_views():
    from emotion_maps.backend import to_numpy
    from emotion_maps.recipes import open_pretrained, passes, weights_folder

    champion = open_pretrained("champion")
    members = list(champion.manifest["mirror"]["of"])
    assert "default" in members
    faces = np.random.default_rng(0).uniform(0, 255, (3, 48, 48, 1)).astype("float32")
    answers = [np.log(to_numpy(model(views))) for model in (open_pretrained(member).model for member in members) for views in views_of(faces, champion.manifest["mirror"]["shift"])]
    assert len(answers) == passes(champion.manifest) == 10 * len(members)
    mean = np.exp(sum(answers) / len(answers) / champion.manifest["calibration"]["temperature"])
    np.testing.assert_allclose(to_numpy(champion.model(faces)), mean / mean.sum(1, keepdims=True), atol=1e-4)
    assert sum((weights_folder() / f"{member}.npz").stat().st_size for member in members) < 25e6


def test_maps_of_the_champion_are_those_of_each_view():
    import keras

    from emotion_maps.activation_maps import activation_maps, convolutional_layers
    from emotion_maps.attribution import attribute
    from emotion_maps.core import ModelError
    from emotion_maps.recipes import open_pretrained, with_mirror
    from emotion_maps.train import three_blocks
    from emotion_maps.trust import randomisation

    champion, manifest, _ = open_pretrained("champion")
    members = list(manifest["mirror"]["of"])
    default = open_pretrained("default").model
    faces = np.random.default_rng(0).integers(0, 256, (2, 48, 48), "uint8")
    names = convolutional_layers(champion)
    assert len(names) == len(members) * len(convolutional_layers(default)) and not any("#" in name for name in names)
    views = views_of(faces[..., None], manifest["mirror"]["shift"])
    views = dict(zip(["default", *(f"default#{number}" for number in range(2, len(views) + 1))], views, strict=True))
    found = activation_maps(champion, faces, [f"{call}/block3_conv2" for call in views])
    for call, images in views.items():
        np.testing.assert_allclose(found[f"{call}/block3_conv2"], activation_maps(default, images[..., 0], "block3_conv2")["block3_conv2"], atol=1e-4)
    keras.utils.set_random_seed(0)
    alone = three_blocks(filters=(8, 8, 8), dense=(16,))
    small = with_mirror({"alone": alone}, 1.5, shift=2)  # built alike, and quicker
    emotion, inside = max(((number, attribute(alone, faces, "grad-cam", number)) for number in range(7)), key=lambda one: one[1].max())
    assert convolutional_layers(small)[-1] == "alone/block3_conv1" and inside.max() > 0
    with pytest.raises(ModelError, match="looks at an image 10 times"):  # which of the ten maps is meant must be said
        attribute(small, faces, "grad-cam", emotion)
    np.testing.assert_allclose(attribute(small, faces, "grad-cam", emotion, "alone/block3_conv1"), inside / (10 * 1.5), atol=1e-4 * inside.max())
    forgotten = randomisation(small, faces[:1], {"saliency": {}})
    assert forgotten.shape == (1, 1 + 5) and forgotten.iloc[0, -1] < 0.9
    saliency = attribute(small, faces, "saliency", "happy")
    np.testing.assert_allclose(saliency, attribute(small, faces[:, :, ::-1], "saliency", "happy")[:, :, ::-1], atol=1e-4 * saliency.max())


def told(command):
    """The parameters that a command gives, as papermill reads them."""
    from emotion_maps.pipeline import read_value

    words = shlex.split(command)
    return {words[at + 1]: read_value(words[at + 2], None) for at, word in enumerate(words) if word == "-p"}


def lists(values):
    """The same with lists for tuples, as JSON has them."""
    return json.loads(json.dumps(values))


@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.stem)
def test_kept_command_is_the_kept_settings(path):
    from dataclasses import asdict

    from emotion_maps.pipeline import step_parameters
    from emotion_maps.train import Recipe, recipe_from, training_command

    run = json.loads(path.read_text())
    given, usual = told(run["command"]), asdict(Recipe())
    assert run["command"] == training_command(run) and not given.keys() - step_parameters(NOTEBOOKS / "02_train.ipynb").keys()
    recipe = recipe_from(given["preset"], **{name: value for name, value in given.items() if name in usual})
    assert lists(asdict(recipe)) == lists(usual) | run["parameters"]
    assert given.get("name", "best_emotion_model") + ".keras" == run.get("name", "best_emotion_model.keras") and given.get("seed", 0) == run["seed"]
    assert given.get("calibration", 0.05) == run.get("calibration", {"share": 0.0})["share"]


@pytest.mark.parametrize("path", MEANS, ids=lambda path: path.stem)
def test_kept_command_of_a_mean_is_the_kept_settings(path):
    from emotion_maps.train import training_command

    run = json.loads(path.read_text())
    assert run["command"] == training_command(run) and run["backend"] in run["versions"]


def commands(manifest):
    """(the file it makes, command) of every network that a manifest goes back to, but for shipped ones, which have manifests of their own."""
    from emotion_maps.recipes import file_made_by

    for member in manifest.get("members", []):
        if member["name"] not in NAMES:
            yield file_made_by(member["command"]), member["command"]
            yield from commands(member)


@pytest.mark.parametrize("name", NAMES)
def test_commands_in_a_manifest_are_the_kept_ones(name):
    from emotion_maps.recipes import file_made_by, weights_folder

    def of(name):
        return json.loads((weights_folder() / f"{name}.json").read_text())

    manifest = of(name)
    own = [] if "mirror" in manifest else [(file_made_by(manifest["command"]), manifest["command"])]
    found = [*own, *commands(manifest)]
    assert found or "mirror" in manifest
    for file, command in found:
        kept, = (NOTEBOOKS / "results").glob(f"02*_train_{Path(file).stem}.json")
        assert json.loads(kept.read_text())["command"] == command
    for member in manifest.get("members", []) if "mirror" in manifest else ():
        known = of(member["name"])
        assert (member["command"], member["members"]) == (known["command"], known.get("members", []))


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_made_before_they_are_needed(name):
    from emotion_maps.pipeline import step_parameters
    from emotion_maps.recipes import retraining

    made, shipped = set(), set()
    for command in retraining(name):
        given = told(command)
        notebook = next(word for word in shlex.split(command) if word.startswith("nbs/"))
        assert not given.keys() - step_parameters(NOTEBOOKS.parent / notebook).keys()
        averaged = given.get("average", []) if "model" in given else []  # a training averages epochs
        members, mirrored, teachers = ([value] if isinstance(value, str) else value for value in (averaged, given.get("mirror", []), given.get("teacher", [])))
        files = [given.get("start"), *teachers, *members, given["model"] if "ship_as" in given and "model" in given else None]
        assert {file for file in files if file} <= made and {*mirrored} <= shipped, command
        if "ship_as" in given:
            shipped.add(given["ship_as"])
        else:
            made.add(given["model"] if "model" in given else f"models/{given['name']}.keras")
    assert name in shipped and "models/hour_48.keras" in made


@pytest.mark.parametrize("shipped", ["default", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name != "default")], indirect=True)
def test_public_test_scores_are_those_of_the_card(shipped, card, fer2013):
    from emotion_maps.data import load_faces, split_faces
    from emotion_maps.evaluate import expected_calibration_error, predict

    test = split_faces(load_faces(str(fer2013))).test
    probabilities = predict(shipped, test.images)
    assert (probabilities.argmax(1) == test.labels).mean() == pytest.approx(card["accuracy"], abs=0.001)
    assert expected_calibration_error(probabilities, test.labels) == pytest.approx(card["calibration"]["ece"], abs=0.003)


def test_retrain_runs_the_chain_and_goes_on_after_a_failure(root, tmp_path, monkeypatch, capsys):
    import subprocess

    from emotion_maps.core import EmotionMapsError
    from emotion_maps.recipes import retraining

    monkeypatch.syspath_prepend(root / ".ci")
    import retrain as script
    from retrain import retrain

    calls = []

    def stand_in(words, env, **rest):
        """Take the place of papermill: note what it is told, and leave an empty file with the manifest that is kept of it."""
        calls.append((words[3:], env.get("KERAS_BACKEND")))
        given = dict(zip(words[6::3], words[7::3]))
        made = Path(given["model"]) if "model" in given else Path(given["models"]) / f"{given['name']}.keras"
        made.touch()
        kept, = (root / "nbs" / "results").glob(f"02*_train_{made.stem}.json")
        made.with_suffix(".json").write_text(json.dumps(json.loads(kept.read_text()) | {"data": "drawn"}))
        return subprocess.CompletedProcess(words, 3 if made.name == "again_16.keras" else 0)

    monkeypatch.setattr(subprocess, "run", stand_in)
    monkeypatch.setattr(script, "find_spec", lambda backend: backend != "torch")
    with pytest.raises(EmotionMapsError, match="hour_48.keras was trained under torch.*[Pp]ip install torch"):
        retrain("default", "drawn", str(tmp_path))
    assert not calls
    monkeypatch.setattr(script, "find_spec", lambda backend: True)
    with pytest.raises(EmotionMapsError, match="again_16.*exit code 3"):
        retrain("default", "drawn", str(tmp_path))
    assert len(calls) == 2 and calls[0][0][0] == "nbs/02_train.ipynb" and calls[0][1] == "torch" and {"drawn", "hour_48"} <= {*calls[0][0]} and f"{tmp_path}/hour_48.keras" in calls[1][0]
    left = retrain("default", "drawn", str(tmp_path))
    assert len(calls) == len(retraining("default")) - 1 and len(left) == 1 and left[0].endswith("-p ship_as default")
    assert "again_16.keras is there already" in capsys.readouterr().out
    beside = tmp_path / "again_15.json"
    kept = json.loads(beside.read_text())
    for other, words in (({"seed": 7}, "seed 7 where 1 is wanted"), ({"backend": "jax"}, "KERAS_BACKEND jax where torch is wanted")):
        beside.write_text(json.dumps(kept | other))
        with pytest.raises(EmotionMapsError, match=f"again_15.keras was made with {words}"):
            retrain("default", "drawn", str(tmp_path))
    beside.unlink()
    with pytest.raises(EmotionMapsError, match="not known"):
        retrain("default", "drawn", str(tmp_path))


def test_the_benchmark_of_views_counts_what_each_network_and_view_adds(script):
    bench = script("bench_views")
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48), "uint8")
    two, ten = bench.views_of(images, 0), bench.views_of(images, 3)
    assert [*two] == ["plain", "mirrored"] and len(ten) == 10 and np.array_equal(two["mirrored"], images[:, :, ::-1])
    assert np.array_equal(ten["plain up"][:, :-3], images[:, 3:]) and np.array_equal(ten["mirrored left"][:, :, ::-1][:, :, :-3], images[:, :, 3:])
    labels, sure = np.array([0, 0, 1, 1]), np.log(np.array([[.9, .1], [.1, .9]]))
    logs = {("default", "plain"): sure[[0, 1, 1, 0]], ("default", "mirrored"): 2 * sure[[0, 0, 1, 0]], ("other", "plain"): 3 * sure[[1, 0, 1, 1]], ("other", "mirrored"): sure[[1, 0, 1, 1]]}
    rows = {(*row["networks"], row["passes"]): row for row in bench.table(logs, labels, 0)}
    assert {key: row["accuracy"] for key, row in rows.items()} == {("default", 1): .5, ("default", 2): .75, ("other", 1): .75, ("other", 2): .75, ("default", "other", 2): .75, ("default", "other", 4): .75}
    assert (rows["other", 1]["only_this"], rows["other", 1]["only_default"]) == (2, 1) and rows["default", 2]["only_this"] == 1 and rows["default", 1]["p"] == 1
    np.testing.assert_allclose([rows["default", 1]["nll"], rows["default", "other", 2]["nll"]], [-np.log([.9, .1, .9, .1]).mean(), np.log1p([9, 1 / 9, 1 / 81, 1 / 9]).mean()])
    assert {tuple(row["networks"]) for row in bench.table(logs | {("third", view): sure[[0, 0, 0, 0]] for view in ("plain", "mirrored")}, labels, 0)} == {("default",), ("other",), ("third",), ("default", "other"), ("default", "third"), ("default", "other", "third")}


def test_the_benchmark_of_normalizations_measures_what_it_says(script):
    from emotion_maps.data import load_faces
    from emotion_maps.train import recipe_from, three_blocks

    bench = script("bench_normalizations")
    recipe, faces = recipe_from("brief", filters=(4, 4, 4), dense=(8, 4), block_dropout=.5, erase=1., rotation=0., shift=0., zoom=0., flip=False), load_faces("drawn:140,7")
    model = three_blocks(**recipe.shape)
    before = model.get_weights()
    changed = bench.changed_faces(faces, recipe)
    same = (changed.images == faces.images).mean()
    assert .7 < same < .97 and np.array_equal(changed.images, bench.changed_faces(faces, recipe).images)  # a part of each face is erased

    def averages(one, block):
        return one.get_layer(f"block{block}_norm1").get_weights()[2:]

    quiet, dropped, moved = (bench.measured(model, recipe, *way) for way in ((faces, False), (faces, True), (changed, False)))
    np.testing.assert_allclose(averages(quiet, 1), averages(dropped, 1), rtol=1e-4)  # before any dropout
    assert not np.allclose(averages(quiet, 1), averages(moved, 1), rtol=1e-3)
    assert (averages(dropped, 2)[1] > 1.2 * averages(quiet, 2)[1]).mean() > .7  # dropout keeps the mean and raises the variance
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    scored = bench.score(quiet, faces)
    assert scored["interval"][0] < scored["accuracy"] < scored["interval"][1] and 0 < scored["nll"] < 12


def test_the_benchmark_of_narrower_networks_keeps_as_many_filters_as_it_says(script):
    import pandas as pd

    from emotion_maps.activation_maps import convolutional_layers
    from emotion_maps.data import load_faces
    from emotion_maps.train import filter_strengths, recipe_from, three_blocks

    bench = script("bench_narrower")
    recipe, faces = recipe_from("brief", filters=(8, 8, 16), convolutions=2, dense=(8, 4)), load_faces("drawn:70,7")
    broad = three_blocks(**recipe.shape)
    effects = bench.effects_of(pd.DataFrame({"layer": "block1_conv1", "filter": [*range(7, -1, -1)], "effect_sad": [0., -1, 2, -3, 4, -5, 6, -7], "effect_fear": 0.}), ["sad", "fear"])
    np.testing.assert_allclose(effects["block1_conv1"], np.arange(7, -1, -1) / 2 ** .5)
    chosen_by = bench.choices(filter_strengths(broad.get_weights()), convolutional_layers(broad), effects)
    assert [*chosen_by] == ["weights", "effect", "chance 0", "chance 1", "chance 2"]
    made = {(what, share, chosen): bench.narrowed(broad, smaller, strengths, faces) for what, share, smaller in bench.narrower(recipe) for chosen, strengths in chosen_by.items() if share == 1 / 2}
    assert len(made) == 10 and {model.count_params() for (what, *_), model in made.items() if what == "filters"} == {three_blocks((4, 4, 8), 2, dense=(8, 4)).count_params()}
    first = {chosen: model.get_weights()[0] for (what, _, chosen), model in made.items() if what == "filters"}
    np.testing.assert_array_equal(first["effect"], broad.get_weights()[0][..., :4])
    assert not np.array_equal(first["chance 0"], first["chance 1"])
    row = bench.row_of("filters", .5, recipe, "weights", broad, np.arange(10) < 7)
    assert row["accuracy"] == .7 and row["interval"][0] < .7 < row["interval"][1] and row["parameters"] == broad.count_params()
