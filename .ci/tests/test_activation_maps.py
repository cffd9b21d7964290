"""The same maps under another Keras backend, which needs a process of its own."""
import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

MAPS_OF_A_FIXED_NETWORK = """
import sys
import keras
import numpy as np
from emotion_maps.activation_maps import activation_maps

layers, random = keras.layers, np.random.default_rng(0)
tensor = start = keras.Input((48, 48, 1))
tensor = layers.Rescaling(1/255)(tensor)
tensor = layers.Conv2D(4, 3, padding='same', name='one')(tensor)
tensor = layers.ReLU()(layers.BatchNormalization()(tensor))
tensor = layers.Conv2D(5, 3, strides=2, activation='elu', name='two')(layers.Dropout(.5)(tensor))
inner = keras.Model(start, tensor, name='inner')
start = keras.Input((48, 48, 1))
model = keras.Model(start, layers.Dense(3, activation='softmax')(layers.GlobalAveragePooling2D()(inner(layers.RandomFlip()(start)))))
model.set_weights([random.uniform(.1, 1, w.shape).astype('float32') if w.dtype == 'float32' else w for w in model.get_weights()])
images = random.integers(0, 256, (21, 48, 48)).astype('uint8')
found = activation_maps(model, images, ['inner/one', 'inner/one:raw', 'inner/two', 'inner/two:raw', ':output'], batch_size=8)
np.savez(sys.argv[1], **{name.replace('/', '-').replace(':', '+'): maps for name, maps in found.items()})
"""


def run_python(source, *arguments, **environment):
    """Run Python source in a new process; its standard output."""
    done = subprocess.run([sys.executable, "-c", source, *map(str, arguments)], env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("backend", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_maps_are_the_same_under_every_backend(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    for name in ("tensorflow", backend):
        run_python(MAPS_OF_A_FIXED_NETWORK, tmp_path / f"{name}.npz", KERAS_BACKEND=name)
    ours, theirs = (np.load(tmp_path / f"{name}.npz") for name in ("tensorflow", backend))
    assert set(ours) == set(theirs) and ours["inner-two"].shape == (21, 23, 23, 5)
    for name in ours:
        assert np.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-3), name
