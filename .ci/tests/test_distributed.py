"""Two real processes train one network under JAX as one process does; one that is killed ends the job with a word on it, and the same command goes on. A TensorFlow training on two devices; an atlas gathered in parts."""
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from emotion_maps.core import EMOTIONS
from emotion_maps.filter_atlas import FACE_PARTS

SETTINGS = {"data": "drawn:280,70", "preset": "quick", "filters": "4,4,4", "dense": "8", "batch-size": 28, "epochs": 6, "mixup": 0.2, "erase": 0.2}
ENDS_WITHIN = 30  # seconds after a process was killed

# Put before everything else into process 1: it kills itself once the first epoch's state has been written.
KILLER = """
import glob, os, signal, threading, time

def watch():
    while not glob.glob(os.environ['KILL_WHEN']): time.sleep(.002)
    with open(os.environ['KILLED_AT'], 'w') as file: file.write(str(time.time()))
    os.kill(os.getpid(), signal.SIGKILL)

if 'KILL_WHEN' in os.environ and os.environ.get('EMOTION_MAPS_PROCESS') == '1': threading.Thread(target=watch, daemon=True).start()
"""
MAIN = "import sys; from emotion_maps.pipeline import main; sys.exit(main(sys.argv[2:], sys.argv[1]))"


@pytest.fixture(scope="module")
def workshop(root, tmp_path_factory):
    """A folder with the notebooks, of which 02_train is without its examples, the killer, and a cache of what JAX compiles."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip('pip install "emotion_maps[distributed]" to run this test: it needs jax')
    folder = tmp_path_factory.mktemp("distributed")
    shutil.copytree(root / "nbs", folder / "nbs", ignore=shutil.ignore_patterns("results"))
    path = folder / "nbs" / "02_train.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = notebook["cells"]
    (at,) = (number for number, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", []))
    imports = {"cell_type": "code", "id": "imports", "metadata": {}, "execution_count": None, "outputs": [],
               "source": "from emotion_maps.core import check_parameters\nfrom emotion_maps.recipes import opened_for_training\nfrom emotion_maps.train import train"}
    (run,) = (cell for cell in cells if "".join(cell["source"]).startswith("settings = check_parameters(globals())"))
    notebook["cells"] = [imports, cells[at], run]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    (folder / "sitecustomize.py").write_text(KILLER, encoding="utf-8")
    return folder


def environment(workshop, root, **more):
    """JAX on the processor, compiling each thing once, with little effort."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(workshop / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EMOTION_MAPS_", "SLURM_", "OMPI_"))}
    return kept | cache | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join((str(workshop), str(root)))} | more


def command_line(workshop, root, models, processes, **more):
    """The finished process of `emotion-maps train`."""
    options = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-c", MAIN, str(workshop / "nbs"), "train", *options, "--models", str(models), "--output", str(models / "output"), "--processes", str(processes)]
    return subprocess.run(command, cwd=root, env=environment(workshop, root, **more), capture_output=True, text=True)


def history_of(models):
    return json.loads((models / "best_emotion_model.json").read_text(encoding="utf-8"))["history"]


def assert_same_losses(one, two):
    """The same epochs, with the same losses, accuracies and learning rates within 1e-3."""
    assert len(one) == len(two) == SETTINGS["epochs"]
    for name in ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate"):
        np.testing.assert_allclose([epoch[name] for epoch in one], [epoch[name] for epoch in two], rtol=0, atol=1e-3, err_msg=name)


@pytest.fixture(scope="module")
def alone(workshop, root):
    """The folder of a network that one process trained without a break."""
    done = command_line(workshop, root, workshop / "alone", 1)
    assert done.returncode == 0, done.stderr[-3000:]
    return workshop / "alone"


@pytest.fixture(scope="module")
def killed(workshop, root):
    """A training by two processes of which number 1 was killed: its folder, the finished launcher, the seconds from the kill to its end."""
    models, moment = workshop / "killed", workshop / "killed_at"
    done = command_line(workshop, root, models, 2, KILL_WHEN=str(models / "runs" / "*" / "state.npz"), KILLED_AT=str(moment))
    ended = time.time()
    assert moment.exists(), done.stderr[-3000:]
    shutil.copytree(models, workshop / "killed copy")
    return models, done, ended - float(moment.read_text())


@pytest.mark.slow
def test_killed_process_ends_the_job(killed):
    models, done, seconds = killed
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-2:] == ["Process 1 of 2 ended: killed by SIGKILL, as the system does when memory runs out.",
                                                     "The same command goes on from the last finished epoch."], done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    print(f"ended {seconds:.1f} s after the kill")
    assert seconds < ENDS_WITHIN
    (state,) = models.glob("runs/*/state.npz")
    with np.load(state, allow_pickle=False) as saved:
        assert 1 <= len(json.loads(str(saved["facts"]))["history"]) < SETTINGS["epochs"]
    assert not (models / "best_emotion_model.keras").exists()


@pytest.mark.slow
def test_two_processes_go_on_and_learn_what_one_does(killed, alone, workshop, root):
    models, *_ = killed
    done = command_line(workshop, root, models, 2)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = json.loads((models / "best_emotion_model.json").read_text(encoding="utf-8"))
    assert manifest["processes"] == 2 and manifest["backend"] == "jax" and not [path for path in models.glob("runs/*") if path.name != ".lock"]
    assert_same_losses(manifest["history"], history_of(alone))
    assert (models / "best_emotion_model.h5").exists() and list((models / "output").rglob("02_train.ipynb"))


@pytest.mark.slow
def test_one_process_goes_on_with_what_two_began(killed, alone, workshop, root):
    copy = workshop / "killed copy"
    done = command_line(workshop, root, copy, 1)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_losses(history_of(copy), history_of(alone))


MIRRORED = """
import sys
import numpy as np
import tensorflow as tf
if sys.argv[2] == '2': tf.config.set_logical_device_configuration(tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()]*2)
from emotion_maps.backend import batch_share, import_keras
from emotion_maps.core import ParameterError
from emotion_maps.train import train

assert batch_share()[:1] == (int(sys.argv[2]),)
if sys.argv[2] == '2':
    try: train('drawn:70,70', models=sys.argv[1], epochs=1, filters=(4, 4, 4), dense=(8,), optimizer='muon')
    except ParameterError as error: assert 'several devices' in str(error)
    else: sys.exit('muon was not refused')

class PullThePlug(import_keras().callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == int(sys.argv[3]): raise KeyboardInterrupt

def run(*callbacks):
    return train('drawn:281,70', models=sys.argv[1], epochs=4, filters=(4, 4, 4), dense=(8,), batch_size=27, mixup=.2, erase=.2, block_dropout=0, dense_dropout=0, callbacks=callbacks)

if sys.argv[3] != '0':
    try: run(PullThePlug())
    except KeyboardInterrupt: pass
trained = run()
np.savez(sys.argv[1] + '/weights.npz', *trained.model.get_weights())
"""


def mirrored(root, models, devices, interrupted=0):
    """The history of a TensorFlow training on so many devices, and the final weights."""
    alone = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", MIRRORED, str(models), str(devices), str(interrupted)], cwd=root, env=os.environ | alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return history_of(models), [array for _, array in sorted(np.load(models / "weights.npz").items())]


@pytest.mark.slow
def test_two_devices_of_tensorflow(root, tmp_path):
    """Each normalizes its own half of a batch, so the losses are near those of one device, not the same; broken off or not, they are the same."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("pip install tensorflow to run this test")
    one, _ = mirrored(root, tmp_path / "one", 1)
    two, weights = mirrored(root, tmp_path / "two", 2)
    again, resumed = mirrored(root, tmp_path / "again", 2, interrupted=2)
    for name in ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate"):
        np.testing.assert_allclose([epoch[name] for epoch in again], [epoch[name] for epoch in two], atol=1e-6, err_msg=name)
    for left, right in zip(weights, resumed, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
    np.testing.assert_allclose([epoch["learning_rate"] for epoch in two], [epoch["learning_rate"] for epoch in one], atol=1e-6)
    print([round(epoch["loss"], 4) for epoch in one], [round(epoch["loss"], 4) for epoch in two])
    np.testing.assert_allclose([epoch["loss"] for epoch in two], [epoch["loss"] for epoch in one], atol=0.15)


ATLAS = """
import json, sys
from emotion_maps.filter_atlas import *
from emotion_maps.core import ModelError
model, output = sys.argv[1:]
task = {'model': model, 'output': output, 'atlas_faces': 130}
found = atlas_task(**task)
regions_of = regions_of_faces(found.seen)
plan = plan_atlas(found.trained.model, found.seen.images, regions_of)
finish_atlas(found.trained.model, found.seen, gather(found.trained.model, found.seen, regions_of, plan), plan).save(output + '/one')
print(gather_shard(shard='1/3', **task))  # as a job of an array does
gathered, plan = gather_in_shards(3, **task)
finish_atlas(found.trained.model, found.seen, gathered, plan).save(output + '/three')
try: gather_in_shards(2, **task | {'layers': 'no_such_layer'})
except ModelError as error: print(error)
"""


@pytest.mark.slow
def test_atlas_in_three_processes_is_the_atlas(small_model, root, tmp_path):
    """A column of the table, a favourite, a mean map: the same to 1e-6, from three processes of which one ran before."""
    pandas = pytest.importorskip("pandas")
    (tmp_path / "out").mkdir()
    done = subprocess.run([sys.executable, "-c", ATLAS, str(small_model), str(tmp_path / "out")], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = done.stdout.strip().splitlines()
    assert printed[0].endswith("1-of-3.npz") and "no_such_layer" in printed[-1] and "of the atlas ended" in printed[-1]
    one, three = (pandas.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in ("one", "three"))
    pandas.testing.assert_frame_equal(one, three, check_exact=False, rtol=1e-6, atol=1e-6)
    assert len(one) > 10 and [sum(name.startswith(f"q_{kind}_") for name in one) for kind in ("place", "face", "emotion")] == [len(FACE_PARTS), len(FACE_PARTS), len(EMOTIONS)]
    (left,), (right,) = ([np.load(path) for path in (tmp_path / "out").glob(f"{name}-*.npz")] for name in ("one", "three"))
    assert set(left) == set(right) and any(name.startswith("favourites") for name in left)
    for name in left:
        np.testing.assert_allclose(left[name].astype("float64"), right[name].astype("float64"), rtol=1e-6, atol=1e-6, err_msg=name)
