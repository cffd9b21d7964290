"""The shipped networks: whole, scored with the very file, as good as their card says."""
import json

import numpy as np
import pytest

NAMES = ["apart", "champion", "default"]


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
    from emotion_maps.core import fingerprint

    assert card["model_fingerprint"] == fingerprint(np.fromfile(shipped.path, "uint8"))
    assert card["data_fingerprint"] == shipped.manifest["data_fingerprint"]
    assert card["note"] and card["stress"] and card["answered"] and card["without_copies"]["n"] < card["n"]


def test_default_has_the_shape_of_the_brief():
    from emotion_maps.recipes import open_pretrained

    shipped = open_pretrained("default")
    kinds = [type(layer).__name__ for layer in shipped.model.layers]
    assert kinds.count("MaxPooling2D") == 3 and {"Conv2D", "BatchNormalization", "Dropout", "Flatten"} <= set(kinds)
    assert [layer.units for layer in shipped.model.layers if type(layer).__name__ == "Dense"] == [512, 256, 7]
    assert shipped.model.input_shape == (None, 48, 48, 1) and {weight.dtype for weight in shipped.model.weights} == {"float32"}


def test_champion_is_the_mean_of_its_members_on_the_face_and_its_mirror_image():
    from emotion_maps.recipes import open_pretrained, weights_folder

    champion = open_pretrained("champion")
    members = list(champion.manifest["mirror"]["of"])
    assert "default" in members
    faces = np.random.default_rng(0).uniform(0, 255, (3, 48, 48, 1)).astype("float32")
    answers = [np.log(open_pretrained(member).model.predict(views, verbose=0)) for member in members for views in (faces, faces[:, :, ::-1])]
    mean = np.exp(sum(answers) / len(answers) / champion.manifest["mirror"]["temperature"])
    np.testing.assert_allclose(champion.model.predict(faces, verbose=0), mean / mean.sum(1, keepdims=True), atol=1e-4)
    assert sum((weights_folder() / f"{member}.npz").stat().st_size for member in members) < 25e6


def test_maps_of_the_champion_are_those_of_both_views():
    from emotion_maps.activation_maps import activation_maps, convolutional_layers
    from emotion_maps.attribution import attribute
    from emotion_maps.recipes import open_pretrained
    from emotion_maps.trust import randomisation

    champion, manifest, _ = open_pretrained("champion")
    members, temperature = manifest["mirror"]["of"], manifest["mirror"]["temperature"]
    default = open_pretrained("default").model
    faces = np.random.default_rng(0).integers(0, 256, (2, 48, 48), "uint8")
    names = convolutional_layers(champion)
    assert len(names) == 2 * len(members) * len(convolutional_layers(default))
    view, face = (name for name in names if name.startswith("default") and name.endswith("block3_conv2"))
    found = activation_maps(champion, faces, [view, face])
    for name, images in ((face, faces), (view, faces[:, :, ::-1])):
        np.testing.assert_allclose(found[name], activation_maps(default, images, "block3_conv2")["block3_conv2"], atol=1e-4)
    inside = attribute(default, faces, "grad-cam", "happy")
    np.testing.assert_allclose(attribute(champion, faces, "grad-cam", "happy"), inside / (2 * len(members) * temperature), atol=1e-4 * inside.max())
    forgotten = randomisation(champion, faces[:1], {"saliency": {}})
    assert forgotten.shape == (1, 1 + 9 * len(members)) and forgotten.iloc[0, -1] < 0.9
    saliency = attribute(champion, faces, "saliency", "happy")
    np.testing.assert_allclose(saliency, attribute(champion, faces[:, :, ::-1], "saliency", "happy")[:, :, ::-1], atol=1e-4 * saliency.max())


@pytest.mark.parametrize("shipped", ["default", *(pytest.param(name, marks=pytest.mark.slow) for name in ("apart", "champion"))], indirect=True)
def test_public_test_scores_are_those_of_the_card(shipped, card, fer2013):
    from emotion_maps.data import load_faces, split_faces
    from emotion_maps.evaluate import expected_calibration_error, predict

    test = split_faces(load_faces(str(fer2013))).test
    probabilities = predict(shipped, test.images)
    assert (probabilities.argmax(1) == test.labels).mean() == pytest.approx(card["accuracy"], abs=0.001)
    assert expected_calibration_error(probabilities, test.labels) == pytest.approx(card["calibration"]["ece"], abs=0.003)
