"""Training under every Keras backend that is installed: the same seed, the same weights; killed or not; and the saved files open in all of them."""
import functools
import importlib.util
import json
import os
import platform
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from emotion_maps.core import peak_memory
from emotion_maps.train import training_command

BACKENDS = ("tensorflow", "jax", "torch")
NAME = "best_emotion_model"
PROCESSOR = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "KERAS_TORCH_DEVICE": "cpu"}  # an accelerator may add in another order

TRAIN = """
import sys
import numpy as np
from emotion_maps.backend import import_keras
from emotion_maps.train import train

keras = import_keras()

class PullThePlug(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch: raise KeyboardInterrupt

def run(*callbacks):
    return train('drawn:140,70', preset='hour', seed=5, models=sys.argv[1], epochs=3, small_share=.34, average=0, label_smoothing=.1, batch_size=42, filters=(4, 6, 8), convolutions=1,
                 dense=(16,), dense_norm=True, standardize=True, initializer='glorot_uniform', callbacks=callbacks)

for epoch in map(int, sys.argv[3:]):
    try: run(PullThePlug(epoch))
    except KeyboardInterrupt: print('interrupted before epoch', epoch + 1)
if len(sys.argv) == 3:
    trained = run()
    np.save(sys.argv[1] + '/answers.npy', trained.model.predict(np.load(sys.argv[2]), verbose=0))
    np.savez(sys.argv[1] + '/weights.npz', *trained.model.get_weights())
"""

OPEN = """
import sys
import numpy as np
import keras

faces, target, shipped, *paths = sys.argv[1:]
for number, path in enumerate(paths):
    model = keras.saving.load_model(path)
    np.save(f'{target}/{number}.npy', model.predict(np.load(faces), verbose=0))
assert not any(name.startswith('emotion_maps') for name in sys.modules)
print(keras.config.backend())

from emotion_maps.recipes import load_pretrained
np.save(f'{target}/{shipped}.npy', load_pretrained(shipped).predict(np.load(faces), verbose=0))
"""

CLEARED = """
import resource
from emotion_maps.backend import import_keras, keep_memory

keras = import_keras()

def cleared():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    keras.ops.ones((40, 2**18))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fewest = min(cleared() for _ in range(30))  # before keep_memory is asked, which would make it so
print(int(keep_memory()), fewest)
"""


def slow(*backends):
    """Backends, or networks, that only make test-full takes the time for."""
    return [pytest.param(backend, marks=pytest.mark.slow) for backend in backends]


def need(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"pip install {backend} to run this test")


def run_python(source, backend, *arguments, cwd):
    """What Python source prints in a process of its own under a backend."""
    command = [sys.executable, "-c", source, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **PROCESSOR, "KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """The path of fixed images that every network is asked about."""
    path = tmp_path_factory.mktemp("faces") / "faces.npy"
    np.save(path, np.random.default_rng(0).uniform(0, 255, (20, 48, 48, 1)).astype("float32"))
    return path


@pytest.fixture(scope="module")
def trained(root, faces, tmp_path_factory):
    """A function: the folder of the network that a backend trained, trained when first asked for."""
    @functools.cache
    def folder(backend):
        models = tmp_path_factory.mktemp("models") / backend
        run_python(TRAIN, backend, models, faces, cwd=root)
        return models
    return folder


def trained_files(trained):
    """Both files of the network that each backend has trained."""
    return [trained(maker) / f"{NAME}{ending}" for maker in BACKENDS if importlib.util.find_spec(maker) for ending in (".keras", ".h5")]


@pytest.fixture(scope="module")
def answered(faces, trained, tmp_path_factory):
    """A function: the folder of what a shipped network and every trained file, opened by Keras alone, answer under a backend; asked when first wanted."""
    @functools.cache
    def folder(backend, shipped):
        target = tmp_path_factory.mktemp("answers")
        paths = trained_files(trained) if shipped == "default" else []
        assert run_python(OPEN, backend, faces, target, shipped, *paths, cwd=target).split() == [backend]
        return target
    return folder


def manifest_of(folder):
    return json.loads((folder / f"{NAME}.json").read_text(encoding="utf-8"))


def without_time(history):
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history]


def assert_same_training(one, two):
    """Every number of the history, every answer and every weight of the saved network, to the last bit."""
    assert without_time(manifest_of(one)["history"]) == without_time(manifest_of(two)["history"])
    np.testing.assert_array_equal(np.load(one / "answers.npy"), np.load(two / "answers.npy"))
    left, right = (np.load(folder / "weights.npz") for folder in (one, two))
    assert set(left) == set(right) and len(left) == 26
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])


def test_peak_memory_is_not_that_of_the_process_that_started_it():
    held = np.ones(500 << 20, "uint8")
    here = peak_memory() or held.nbytes
    there = subprocess.run([sys.executable, "-c", "from emotion_maps.core import peak_memory; print(peak_memory() or 11)"], capture_output=True, text=True, check=True).stdout
    assert 10 < int(there) < 500 < here


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
@pytest.mark.parametrize("backend", BACKENDS)
def test_freed_memory_is_kept(backend, root, monkeypatch):
    need(backend)
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    kept, pages = map(int, run_python(CLEARED, backend, cwd=root).split())
    assert kept == 1 and pages < 2000  # of the 10,240 pages of 40 MB: they were there from the time before


@pytest.mark.parametrize("backend", BACKENDS)
def test_manifest_of_a_training(backend, trained):
    need(backend)
    manifest = manifest_of(trained(backend))
    assert manifest["backend"] == backend and backend in manifest["versions"] and manifest["accelerators"] == []
    assert [epoch["size"] for epoch in manifest["history"]] == [32, 48, 48]
    assert all(np.isfinite(value) for epoch in manifest["history"] for value in epoch.values())
    rates = [epoch["learning_rate"] for epoch in manifest["history"]]
    assert all(before > after for before, after in pairwise(rates)) and rates[-1] < 1e-6  # one schedule runs through both sizes
    assert manifest["scores"]["best_epoch"] > 1
    assert set(manifest["files"]) == {f"{NAME}.keras", f"{NAME}.h5"}


@pytest.mark.parametrize("backend", slow(*BACKENDS))
def test_same_seed_same_weights(backend, trained, faces, root, tmp_path):
    need(backend)
    run_python(TRAIN, backend, tmp_path / "again", faces, cwd=root)
    assert_same_training(trained(backend), tmp_path / "again")


@pytest.mark.parametrize("backend", slow(*BACKENDS))
def test_interrupted_training_ends_as_an_unbroken_one(backend, trained, faces, root, tmp_path):
    """Interrupted between the sizes of face, again among the large ones, then ended in a new process."""
    need(backend)
    models = tmp_path / "interrupted"
    printed = run_python(TRAIN, backend, models, faces, 1, 2, cwd=root)
    assert printed.splitlines() == [f"interrupted before epoch {epoch}" for epoch in (2, 3)]
    (state,) = models.glob("runs/*/state.npz")
    with np.load(state, allow_pickle=False) as saved:
        assert [epoch["size"] for epoch in json.loads(str(saved["facts"]))["history"]] == [32, 48]
    assert not (models / f"{NAME}.keras").exists()
    run_python(TRAIN, backend, models, faces, cwd=root)
    assert_same_training(trained(backend), models)


@pytest.mark.parametrize("backend", BACKENDS)
def test_saved_networks_of_every_backend_open(backend, trained, answered):
    """Both files of every backend, opened by Keras alone, give the answers of the process that trained them."""
    need(backend)
    for number, path in enumerate(trained_files(trained)):
        due, answers = np.load(path.parent / "answers.npy"), np.load(answered(backend, "default") / f"{number}.npy")
        assert np.ptp(due, axis=0).max() > 0.01  # the images are told apart, so the agreement says something
        np.testing.assert_allclose(answers, due, rtol=0, atol=1e-5, err_msg=f"{path.parent.name}'s {path.suffix} under {backend}")


@pytest.mark.parametrize("name", ["default", *slow("champion")])
def test_a_shipped_network_answers_alike_under_every_backend(name, answered):
    first, *others = [np.load(answered(backend, name) / f"{name}.npy") for backend in BACKENDS if importlib.util.find_spec(backend)]
    if not others:
        pytest.skip("pip install torch or jax to run this test")
    assert np.ptp(first, axis=0).max() > 0.01  # the images are told apart
    for other in others:
        np.testing.assert_allclose(other, first, rtol=0, atol=1e-4)


@pytest.mark.parametrize("backend", slow(*BACKENDS))
def test_train_step_with_a_parameter_changed(backend, root, tmp_path):
    """Not only its functions: papermill runs the whole notebook, as the commands of the shipped networks say; nbdev_test runs it under TensorFlow."""
    need(backend)
    values = {"data": "drawn:140,70", "epochs": 2, "filters": "4,6,8", "dense": "16", "teacher": "default", "models": tmp_path / "models", "output": tmp_path / "output"}
    command = [sys.executable, "-m", "papermill", "nbs/02_train.ipynb", tmp_path / "out.ipynb", "--no-progress-bar", *(word for name, value in values.items() for word in ("-p", name, str(value)))]
    done = subprocess.run(command, cwd=root, env={**os.environ, **PROCESSOR, "KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = manifest_of(tmp_path / "models")
    assert manifest["backend"] == backend and manifest["parameters"]["epochs"] == 2 == len(manifest["history"]) and manifest["parameters"]["filters"] == [4, 6, 8]
    assert manifest["teacher"] == "default" and "-p teacher default" in training_command(manifest)
    assert (tmp_path / "output" / manifest["run"] / "figures" / "training_curves.png").is_file()
