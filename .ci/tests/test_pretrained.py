"""The shipped networks: whole, scored with the very file, as good as their card says."""
import json

import numpy as np
import pytest

NAMES = ["default"]


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


def test_default_has_the_shape_of_the_brief(shipped):
    kinds = [type(layer).__name__ for layer in shipped.model.layers]
    assert kinds.count("MaxPooling2D") == 3 and {"Conv2D", "BatchNormalization", "Dropout", "Flatten"} <= set(kinds)
    assert [layer.units for layer in shipped.model.layers if type(layer).__name__ == "Dense"] == [512, 256, 7]
    assert shipped.model.input_shape == (None, 48, 48, 1) and {weight.dtype for weight in shipped.model.weights} == {"float32"}


def test_public_test_scores_are_those_of_the_card(shipped, card, fer2013):
    from emotion_maps.data import load_faces, split_faces
    from emotion_maps.evaluate import expected_calibration_error, predict

    test = split_faces(load_faces(str(fer2013))).test
    probabilities = predict(shipped, test.images)
    assert (probabilities.argmax(1) == test.labels).mean() == pytest.approx(card["accuracy"], abs=0.001)
    assert expected_calibration_error(probabilities, test.labels) == pytest.approx(card["calibration"]["ece"], abs=0.003)
