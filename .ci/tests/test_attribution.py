"""Attribution beside tf-keras-vis, and the same maps under every Keras backend."""
import importlib
import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from emotion_maps.activation_maps import convolutional_layers, stretch_map
from emotion_maps.attribution import METHODS, attribute
from emotion_maps.backend import backend_name, import_keras

OTHERS = {"grad-cam": ("gradcam", "Gradcam"), "grad-cam++": ("gradcam_plus_plus", "GradcamPlusPlus"), "layercam": ("layercam", "Layercam"),
          "score-cam": ("scorecam", "Scorecam")}
NUMBERS = [0, 4, 2, 6, 1]


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (5, 24, 24, 1)).astype("float32")


def network(kind):
    """A network with fixed weights, and the layer whose maps tf-keras-vis must be told to take."""
    keras = import_keras()
    layers, random = keras.layers, np.random.default_rng(3)
    start = tensor = keras.Input((24, 24, 1))
    tensor = layers.Conv2D(5, 3, padding="same", activation="relu", name="first")(layers.Rescaling(1 / 255)(tensor))
    if kind == "pooled":
        tensor = layers.Conv2D(6, 3, padding="same", activation="relu", name="last")(layers.MaxPooling2D(2)(tensor))
        tensor = layers.GlobalAveragePooling2D()(tensor)
    elif kind == "residual":
        tensor = layers.add([tensor, layers.Conv2D(5, 3, padding="same", activation="relu", name="last")(tensor)])
        tensor = layers.Flatten()(layers.MaxPooling2D(4)(tensor))
    else:
        tensor = layers.Conv2D(6, 3, padding="same", name="conv")(layers.MaxPooling2D(2)(tensor))
        tensor = layers.Flatten()(layers.MaxPooling2D(3)(layers.ReLU(name="last")(layers.BatchNormalization()(tensor))))
        tensor = layers.Dense(9, activation="relu")(tensor)
    model = keras.Model(start, layers.Dense(7, activation="softmax")(tensor))
    model.set_weights([random.uniform(0.5, 1.5, w.shape) if w.ndim == 1 and "batch" in v.path else random.normal(0.05, 0.4, w.shape)
                       for v, w in zip(model.weights, model.get_weights())])
    return model


def normalised(maps):
    """Each map from 0 to 1, as tf-keras-vis scales them (without its epsilon of 1e-7, which shows where a logit is far below zero)."""
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / np.where(high > low, high - low, 1)


def theirs(method, model, images, layer):
    """The maps of tf-keras-vis at the layer's grid, scaled; on the logits (its Score-CAM applies a softmax of its own)."""
    if backend_name() != "tensorflow":
        pytest.skip("tf-keras-vis needs TensorFlow")
    pytest.importorskip("tf_keras_vis", reason="pip install tf-keras-vis to run this test")
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore
    module, name = OTHERS[method]
    visualisation = getattr(importlib.import_module(f"tf_keras_vis.{module}"), name)(model, model_modifier=ReplaceToLinear(), clone=True)
    found = visualisation(CategoricalScore(NUMBERS), images, penultimate_layer=layer, seek_penultimate_conv_layer=False, expand_cam=False, normalize_cam=False)
    return normalised(np.asarray(found, "float32"))


def ours(method, model, images, layer):
    return normalised(attribute(model, images, method, NUMBERS, layer, resize=False))


@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++", "layercam"])
@pytest.mark.parametrize("kind", ["pooled", "residual", "normalised"])
def test_agrees_with_tf_keras_vis(kind, method, images):
    model = network(kind)
    for layer in ("first", "last"):
        own = convolutional_layers(model)[0 if layer == "first" else -1]
        due = theirs(method, model, images, layer)
        np.testing.assert_allclose(ours(method, model, images, own), due, atol=1e-4, rtol=0)
        if layer == "last":
            assert due.max((1, 2)).any()  # not all empty


@pytest.mark.parametrize("kind", ["pooled", "residual", "normalised"])
def test_score_cam_agrees_with_tf_keras_vis_where_nothing_is_stretched(kind, images):
    model = network(kind)
    np.testing.assert_allclose(ours("score-cam", model, images, "first"), theirs("score-cam", model, images, "first"), atol=1e-4, rtol=0)


def test_score_cam_differs_from_tf_keras_vis_in_the_stretching_only(images, monkeypatch):
    model = network("pooled")
    found, due = ours("score-cam", model, images, "last"), theirs("score-cam", model, images, "last")
    assert np.abs(found - due).max() > 1e-4
    import tf_keras_vis.scorecam as scorecam
    each_filter = lambda maps: np.stack([stretch_map(np.asarray(maps)[..., number], (24, 24)) for number in range(maps.shape[-1])], -1)
    monkeypatch.setattr(scorecam, "zoom", lambda maps, factor, **settings: each_filter(maps))
    np.testing.assert_allclose(found, theirs("score-cam", model, images, "last"), atol=1e-4, rtol=0)


MAPS_OF_A_FIXED_NETWORK = """
import sys
import keras
import numpy as np
from emotion_maps.attribution import METHODS, attribute

layers, random = keras.layers, np.random.default_rng(0)
start = keras.Input((24, 24, 3))
tensor = layers.Conv2D(4, 3, padding='same', name='one')(layers.Rescaling(1/255)(start))
tensor = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(tensor)))
tensor = layers.add([tensor, layers.Conv2D(4, 3, padding='same', activation='elu', name='two')(tensor)])
inner = keras.Model(start, layers.Flatten()(tensor), name='inner')
start = keras.Input((24, 24, 3))
model = keras.Model(start, layers.Dense(3, activation='softmax')(inner(start)))
model.set_weights([random.uniform(.5, 1, w.shape) if w.ndim == 1 else random.normal(.02, .2, w.shape) for w in model.get_weights()])
images = random.integers(0, 256, (5, 24, 24, 3)).astype('uint8')
settings = {'rise': {'samples': 60}, 'smoothgrad': {'samples': 5}, 'integrated-gradients': {'steps': 8}}
np.savez(sys.argv[1], **{name.replace('+', 'p'): attribute(model, images, name, [0, 1, 2, 1, 0], batch_size=3, **settings.get(name, {})) for name in METHODS})
"""


@pytest.mark.parametrize("backend", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_attribution_is_the_same_under_every_backend(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"pip install {backend} to run this test")
    on_processor = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "KERAS_TORCH_DEVICE": "cpu"}
    for name in ("tensorflow", backend):
        done = subprocess.run([sys.executable, "-c", MAPS_OF_A_FIXED_NETWORK, tmp_path / f"{name}.npz"],
                              env={**os.environ, **on_processor, "KERAS_BACKEND": name}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    found, due = (np.load(tmp_path / f"{name}.npz") for name in (backend, "tensorflow"))
    assert len(due.files) == len(METHODS)
    for name in due.files:
        assert np.ptp(due[name]) > 0, name
        np.testing.assert_allclose(found[name], due[name], rtol=0, atol=2e-3 * np.abs(due[name]).max(), err_msg=name)
