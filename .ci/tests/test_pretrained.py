"""The shipped networks: whole, scored with the very file, as good as their card says."""
import json

import numpy as np
import pytest

NAMES = ["champion", "default"]


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


def test_champion_is_the_default_with_a_mirror():
    from emotion_maps.recipes import open_pretrained

    champion, default = open_pretrained("champion"), open_pretrained("default")
    faces = np.random.default_rng(0).uniform(0, 255, (3, 48, 48, 1)).astype("float32")
    one, other = (np.log(default.model.predict(views, verbose=0)) for views in (faces, faces[:, :, ::-1]))
    both = np.exp((one + other) / 2 / champion.manifest["mirror"]["temperature"])
    np.testing.assert_allclose(champion.model.predict(faces, verbose=0), both / both.sum(1, keepdims=True), atol=1e-4)
    assert champion.manifest["sha256"] == default.manifest["sha256"]


def test_maps_of_the_champion_are_those_of_both_views():
    from emotion_maps.activation_maps import activation_maps, convolutional_layers
    from emotion_maps.attribution import attribute
    from emotion_maps.core import ModelError
    from emotion_maps.recipes import load_pretrained
    from emotion_maps.trust import randomisation

    champion, default = load_pretrained("champion"), load_pretrained("default")
    faces = np.random.default_rng(0).integers(0, 256, (2, 48, 48), "uint8")
    names = convolutional_layers(champion)
    assert len(names) == 2 * len(convolutional_layers(default))
    plain = activation_maps(default, faces, "block3_conv2")["block3_conv2"]
    mirror = activation_maps(default, faces[:, :, ::-1], "block3_conv2")["block3_conv2"]
    first, second = (name for name in names if name.endswith("block3_conv2"))
    found = activation_maps(champion, faces, [first, second])
    np.testing.assert_allclose(found[first], plain, atol=1e-4)
    np.testing.assert_allclose(found[second], mirror, atol=1e-4)
    with pytest.raises(ModelError, match="used twice"):
        attribute(champion, faces, "grad-cam")
    forgotten = randomisation(champion, faces[:1], {"saliency": {}})
    assert forgotten.shape == (1, 1 + 9) and forgotten.iloc[0, -1] < 0.9
    saliency = attribute(champion, faces, "saliency", "happy")
    np.testing.assert_allclose(saliency, attribute(champion, faces[:, :, ::-1], "saliency", "happy")[:, :, ::-1], atol=1e-4 * saliency.max())


def test_public_test_scores_are_those_of_the_card(shipped, card, fer2013):
    from emotion_maps.data import load_faces, split_faces
    from emotion_maps.evaluate import expected_calibration_error, predict

    test = split_faces(load_faces(str(fer2013))).test
    probabilities = predict(shipped, test.images)
    assert (probabilities.argmax(1) == test.labels).mean() == pytest.approx(card["accuracy"], abs=0.001)
    assert expected_calibration_error(probabilities, test.labels) == pytest.approx(card["calibration"]["ece"], abs=0.003)
