"""The shipped network of landmarks: the one that was measured, as good as measured, the same under every Keras backend."""
import hashlib
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from emotion_maps.backend import backend_name
from emotion_maps.drawn_faces import drawn_faces
from emotion_maps.face_regions import find_landmarks, landmark_error, learn_and_test, mean_shape, read_landmarks
from emotion_maps.recipes import pretrained_names, weights_folder


@pytest.fixture(scope="module")
def result(root):
    return json.loads((root / "nbs" / "results" / "04b_landmarks.json").read_text(encoding="utf-8"))


def test_result_is_about_this_very_file(result):
    path = weights_folder() / "landmarks" / "landmarks.npz"
    assert result["network"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and path.stat().st_size < 1e6


def test_landmarks_are_no_network_of_emotions():
    assert "landmarks" not in pretrained_names()


def test_errors_on_public_test_are_those_of_the_result(result, fer2013):
    from emotion_maps.data import load_faces

    landmarks = fer2013.with_name("landmarks68.npz")
    if not landmarks.exists():
        pytest.skip("landmarks68.npz does not lie beside fer2013.zip")
    test = learn_and_test(read_landmarks(landmarks, load_faces(str(fer2013))))[1]
    test = test[test.good]
    median = np.median(landmark_error(find_landmarks(test.faces.images).points, test.points))
    assert median == pytest.approx(result["test"]["all"]["median"], abs=0.0005) and median <= 0.06
    assert np.median(landmark_error(mean_shape(), test.points)) > 0.15


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow), "torch"])
def test_every_backend_finds_the_same_points(backend, tmp_path):
    if backend == backend_name() or not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is the backend here or is not installed")
    code = f"""
import numpy as np
from emotion_maps.drawn_faces import drawn_faces
from emotion_maps.face_regions import find_landmarks
found = find_landmarks(drawn_faces(7, 0).images)
np.savez({str(tmp_path / 'found.npz')!r}, points=found.points, confidence=found.confidence)
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    here = find_landmarks(drawn_faces(7, 0).images)
    with np.load(tmp_path / "found.npz") as there:
        assert np.abs(there["points"] - here.points).max() < 0.02 and np.abs(there["confidence"] - here.confidence).max() < 0.005
