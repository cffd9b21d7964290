"""Runs that break: killed at random moments, two at once, a notebook that fails, Ctrl-C, a loss that is no number. EMOTION_MAPS_KILLS says how many kills (100)."""
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest

from emotion_maps.core import EmotionMapsError, ModelError
from emotion_maps.pipeline import AUDIT, PHOTO, STEPS, run_steps

BIN = Path(sys.executable).parent
KILLS = int(os.environ.get("EMOTION_MAPS_KILLS", 100))
ONLY_UNIX = pytest.mark.skipif(os.name != "posix", reason="kill -9 and signals to groups are of Unix")

# Each prints 'begun' when its libraries are loaded, and its result, as JSON, at the end. {folder} is its own.
JOBS = {
    "caching": """
from emotion_maps.data import load_faces
print('begun', flush=True)
print(load_faces('drawn:280,140', cache='{folder}/cache').fingerprint)
""",
    "training": """
import json
from emotion_maps.train import import_keras, train
import_keras()
print('begun', flush=True)
trained = train('drawn:140,70', models='{folder}/models', epochs=5, filters=(4, 6, 8), dense=(16,))
print(json.dumps([[{{name: value for name, value in epoch.items() if name != 'seconds'}} for epoch in trained.manifest['history']], [float(abs(weight).sum()) for weight in trained.model.get_weights()]]))
""",
    "evaluating": """
import json
import numpy as np
from emotion_maps.core import read_json
from emotion_maps.evaluate import confusion_figure, predict, save_scores, scores
from emotion_maps.train import faces_of, import_keras, load_trained, run_folder
import_keras()
trained = load_trained('{model}')
print('begun', flush=True)
split = faces_of(trained)
folder = run_folder(trained, split, '{folder}/output')
result = scores(predict(trained.model, split.test.images), split.test.labels, split.test.emotions)
save_scores(result, folder, {{'confusion_matrix': confusion_figure(result)}})
print(json.dumps(read_json(folder/'scores.json')))
""",
    "atlas": """
import json
from emotion_maps.filter_atlas import FilterAtlas, finish_atlas, gather, plan_atlas, regions_of_faces
from emotion_maps.train import faces_of, import_keras, load_trained, run_folder
import_keras()
trained = load_trained('{model}')
print('begun', flush=True)
split = faces_of(trained)
folder, seen = run_folder(trained, split, '{folder}/output'), split.train[:70]
regions = regions_of_faces(seen)
plan = plan_atlas(trained.model, seen.images, regions)
atlas = finish_atlas(trained.model, seen, gather(trained.model, seen, regions, plan), plan, {{'model': trained.manifest['fingerprint']}})
print(FilterAtlas.load(atlas.save(folder/'atlas.parquet')).table.to_json(double_precision=12))
"""}


def start(job, folder, model):
    code = JOBS[job].format(folder=folder, model=model)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "EMOTION_MAPS_CACHE": f"{folder}/cache"})


def finish(process):
    """The result that a job prints at its end."""
    said = process.communicate()[0]
    assert process.returncode == 0
    return said.strip().splitlines()[-1]


def check_whole(folder):
    """Every file that can be seen is whole."""
    from PIL import Image
    from pyarrow import parquet

    for path in folder.rglob("*"):
        if path.name.startswith(".part-") or any(part.startswith(".part-") for part in path.parts) or not path.is_file() or path.name in ("part.weights.h5", ".lock"):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix in (".npz", ".keras"):
            assert zipfile.ZipFile(path).testzip() is None, path
        elif path.suffix == ".npy":
            np.load(path, mmap_mode="r", allow_pickle=False)
        elif path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix == ".parquet":
            parquet.read_table(path)
        elif path.suffix == ".h5":
            import h5py

            h5py.File(path).close()


def killed_at_random(job, kills, folder, model, luck):
    """Kill a job at random moments, let it end; its result, and how often it was killed."""
    done, killed, length = None, 0, None
    unbroken = start(job, folder / "unbroken", model)
    assert unbroken.stdout.readline() == "begun\n"
    begun = time.monotonic()
    expected = finish(unbroken)
    length = time.monotonic() - begun
    while killed < kills:
        broken = folder / f"broken-{killed}"
        for _ in range(luck.choice([1, 1, 2])):
            process = start(job, broken, model)
            process.stdout.readline()
            time.sleep(luck.random() * length)
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.communicate()
            check_whole(broken)
        done = finish(start(job, broken, model))
        check_whole(broken)
        assert done == expected, f"{job}: another result after {killed} kills"
    return killed


@ONLY_UNIX
@pytest.mark.slow
@pytest.mark.parametrize("job, share", [("caching", .4), ("training", .3), ("evaluating", .15), ("atlas", .15)])
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path, small_model, job, share):
    killed = killed_at_random(job, max(1, round(share * KILLS)), tmp_path, small_model, random.Random(f"{job}{KILLS}"))
    print(f"{job}: killed {killed} times")


@ONLY_UNIX
@pytest.mark.slow
def test_two_trainings_at_once_in_one_folder(tmp_path):
    """The same training twice and another one, all into one folder: each sees what it would have made alone, and the model that stays is whole."""
    alone = json.loads(finish(start("training", tmp_path / "alone", "")))
    both = [start("training", tmp_path / "both", "") for _ in range(2)]
    other = subprocess.Popen([sys.executable, "-c", JOBS["training"].format(folder=tmp_path / "both", model="").replace("epochs=5", "epochs=4")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    answers = [json.loads(finish(process)) for process in both]
    finish(other)
    assert any(answer == alone for answer in answers)
    from emotion_maps.train import load_trained

    assert load_trained(tmp_path / "both" / "models" / "best_emotion_model.keras").manifest["scores"]["epochs"] in (4, 5)
    check_whole(tmp_path / "both")


@pytest.mark.slow
def test_a_loss_that_is_no_number_keeps_the_last_good_weights(tmp_path):
    """The rate explodes after the second epoch."""
    code = f"""
import numpy as np
from emotion_maps.core import ModelError
from emotion_maps.train import import_keras, load_trained, train
keras = import_keras()
class Explode(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2: self.model.get_layer('three_blocks').set_weights([weight*np.nan for weight in self.model.get_layer('three_blocks').get_weights()])
try: train('drawn:140,70', models={str(tmp_path)!r}, epochs=5, filters=(4, 6, 8), dense=(16,), callbacks=[Explode()])
except ModelError as error: print(error)
kept = next(__import__('pathlib').Path({str(tmp_path)!r}).glob('runs/*/last_good.keras'))
print(all(np.isfinite(weight).all() for weight in load_trained(kept).model.get_weights()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    message, *_, finite = done.stdout.strip().splitlines()
    assert "no longer a number after epoch 3" in message and "last_good.keras" in message and "learning_rate" in message and finite == "True", done.stdout + done.stderr
    assert not (tmp_path / "best_emotion_model.keras").exists()


# ---- the pipeline, with little notebooks in the place of the steps -----------------------------------------------------

MANIFEST = {"run": "drawn-12345678", "data": "drawn", "note": "", "preset": "quick", "seed": 0, "duration_seconds": 75, "versions": {"keras": "3"},
            "scores": {"epochs": 2, "best_epoch": 1, "validation_accuracy": 0.5}}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a limit on the size of files")
def test_a_disk_that_is_full_for_a_while_does_not_break_the_process(tmp_path):
    code = """
import resource, signal, sys
from pathlib import Path
import h5py
from emotion_maps.core import WritingError
from emotion_maps.data import Split, hold_out, load_faces
from emotion_maps.train import fit, import_keras, load_trained, recipe_from, save_model
import_keras()
folder, recipe = Path(sys.argv[1]), recipe_from('quick', epochs=1, filters=(4, 6, 8), dense=(16,))
faces = load_faces('drawn:70,70')
split = Split(faces, faces, faces, '', '')
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def fill(limit): resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
def refused(work):
    fill(3000)
    try: work()
    except WritingError as error: print(error)
    else: sys.exit('it was written')
    finally: fill(resource.RLIM_INFINITY)
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) == 0, 'HDF5 still holds something open'
refused(lambda: fit(split, recipe, folder/'run'))
model, history = fit(split, recipe, folder/'run')
for name in ('kept.h5', 'kept.keras'):
    path = save_model(model, folder/name)
    before = path.read_bytes()
    refused(lambda: save_model(model, path))
    assert path.read_bytes() == before
    load_trained(save_model(model, path))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]
    for name in ("part.weights.h5", "kept.h5", "kept.keras"):
        assert f"{name}' cannot be written" in done.stdout
    assert not list(tmp_path.rglob(".part-*")) and "Exception ignored" not in done.stderr


def little_notebook(folder, name, parameters="data = 'drawn'  # d\noutput = ''  # o\nmodel = ''  # m", body="pass"):
    cells = [nbformat.v4.new_markdown_cell("# A step"), nbformat.v4.new_code_cell(f"# parameters\n{parameters}", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(body)]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}})
    nbformat.write(notebook, folder / f"{name}.ipynb")


@pytest.fixture
def little(tmp_path):
    """A folder of little notebooks: each adds its name to the file `ran`."""
    folder = tmp_path / "nbs"
    folder.mkdir()
    for name in (*STEPS.values(), AUDIT, PHOTO):
        little_notebook(folder, name, body=f"with open({str(tmp_path / 'ran')!r}, 'a') as file: file.write('{name} ')")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "best_emotion_model.keras").write_bytes(b"")
    write = f"import json, pathlib\npathlib.Path(models, 'best_emotion_model.json').write_text({json.dumps(MANIFEST)!r})\nwith open({str(tmp_path / 'ran')!r}, 'a') as file: file.write('02_train ')"
    little_notebook(folder, "02_train", "data = 'drawn'  # d\nmodels = ''  # m\noutput = ''  # o\nresume = True  # r", write)
    made = f"from pathlib import Path\nfolder = Path(output)/{MANIFEST['run']!r}\nfolder.mkdir(parents=True, exist_ok=True)\n(folder/'scores.json').write_text('{{}}')\nwith open({str(tmp_path / 'ran')!r}, 'a') as file: file.write('03_evaluate ')"
    little_notebook(folder, "03_evaluate", body=made)
    return tmp_path


def three_steps(folder, **more):
    """Train, evaluate and draw maps with the little notebooks, here: the steps that ran, and how it ended."""
    parameters = {"models": str(folder / "models"), "output": str(folder / "output"), **more}
    try:
        run_steps(["train", "evaluate", "maps"], parameters, folder / "nbs")
        ended = None
    except EmotionMapsError as error:
        ended = error
    return ran(folder), ended


def pipeline(folder, *arguments, **more):
    code = f"import sys; from emotion_maps.pipeline import main; sys.exit(main(sys.argv[1:], {str(folder / 'nbs')!r}))"
    models = ["--models", folder / "models"] if arguments[0] == "run" else []
    return subprocess.Popen([sys.executable, "-c", code, *arguments, *models, "--output", folder / "output"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def ran(folder):
    words = (folder / "ran").read_text().split()
    (folder / "ran").unlink()
    return words


def test_a_notebook_that_fails_stops_the_run_and_resume_goes_on_from_there(little):
    little_notebook(little / "nbs", "04_activation_maps", body="1/0  # and\nprint('never')")
    process = pipeline(little, "run")
    said, errors = process.communicate()
    assert process.returncode == 1 and ran(little) == ["01_data", "02_train", "03_evaluate"]
    first, second = errors.strip().splitlines()[-2:]
    assert re.match(r"04_activation_maps.ipynb, cell \d: ZeroDivisionError: division by zero", first) and "04_activation_maps-failed.ipynb" in second
    kept = {path.name for path in (little / "output" / "drawn-12345678" / "notebooks").iterdir()}
    assert kept == {"01_data.ipynb", "02_train.ipynb", "03_evaluate.ipynb", "04_activation_maps-failed.ipynb"}
    time.sleep(.05)
    little_notebook(little / "nbs", "04_activation_maps", body=f"open({str(little / 'ran')!r}, 'a').write('mended ')")
    process = pipeline(little, "run", "--resume")
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    assert ran(little)[:3] == ["01_data", "02_train", "mended"] and "03_evaluate has been run" in said  # training looks for itself whether it is done
    assert three_steps(little) == (["02_train", "03_evaluate", "mended"], None)  # without --resume everything runs again


def test_resume_runs_what_failed_since_and_what_has_lost_its_result(little):
    every, folder = ["02_train", "03_evaluate", "04_activation_maps"], little / "output" / MANIFEST["run"]
    fail = f"import os\nopen({str(little / 'ran')!r}, 'a').write('04_activation_maps ')\nassert not os.path.exists({str(little / 'disk_full')!r}), 'no space'"
    little_notebook(little / "nbs", "04_activation_maps", body=fail)
    assert three_steps(little) == (every, None) and three_steps(little, resume=True) == (every[:1], None)
    (little / "disk_full").touch()
    ran_now, ended = three_steps(little)
    assert ran_now == every and "no space" in ended.problem and ended.kept == folder / "notebooks" / "04_activation_maps-failed.ipynb" and ended.kept.is_file()
    assert (folder / "notebooks" / "04_activation_maps.ipynb").is_file()  # of the run before
    (little / "disk_full").unlink()
    assert three_steps(little, resume=True) == (["02_train", "04_activation_maps"], None) and not ended.kept.exists()
    (folder / "scores.json").unlink()
    assert three_steps(little, resume=True) == (every, None)


@ONLY_UNIX
def test_a_killed_run_keeps_the_notebooks_that_were_finished(little):
    wait = f"import time\nopen({str(little / 'begun')!r}, 'w').close()\ntime.sleep(0 if __import__('os').path.exists({str(little / 'go')!r}) else 600)"
    little_notebook(little / "nbs", "04_activation_maps", body=wait)
    process = pipeline(little, "run", start_new_session=True)
    deadline = time.monotonic() + 120
    while not (little / "begun").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    assert {"02_train.ipynb", "03_evaluate.ipynb"} <= {path.name for path in (little / "output" / MANIFEST["run"] / "notebooks").iterdir()}
    (little / "go").touch()
    ran(little)
    assert three_steps(little, resume=True)[1] is None
    assert [path.name for path in (little / "output").iterdir()] == [MANIFEST["run"]]


@ONLY_UNIX
def test_of_two_runs_that_train_one_network_the_second_waits(little):
    names = str(little / "ran")
    slow = f"import json, pathlib, time\nopen({names!r}, 'a').write(f'train{{seed}} ')\npathlib.Path(models, 'best_emotion_model.json').write_text(json.dumps({MANIFEST!r} | {{'run': f'drawn-{{seed}}', 'fingerprint': str(seed)}}))\ntime.sleep(2)"
    little_notebook(little / "nbs", "02_train", "data = 'drawn'  # d\nmodels = ''  # m\noutput = ''  # o\nseed = 0  # s", slow)
    read = f"import json, pathlib\nopen({names!r}, 'a').write('evaluate' + json.loads(pathlib.Path(model).with_suffix('.json').read_text())['fingerprint'] + ' ')"
    little_notebook(little / "nbs", "03_evaluate", body=read)
    code = "import sys; from emotion_maps.pipeline import run_steps; print(run_steps(['train', 'evaluate'], {'models': sys.argv[1], 'output': sys.argv[2], 'seed': int(sys.argv[3])}, sys.argv[4]))"
    both = [subprocess.Popen([sys.executable, "-c", code, little / "models", little / "output", str(seed), little / "nbs"], stdout=subprocess.PIPE, text=True) for seed in (1, 2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0] and ["waiting until it has finished" in text for text in said].count(True) == 1
    assert [text.strip().endswith(f"drawn-{seed}") for seed, text in enumerate(said, 1)] == [True, True]
    words = ran(little)
    assert words in (["train1", "evaluate1", "train2", "evaluate2"], ["train2", "evaluate2", "train1", "evaluate1"])


def test_a_network_that_is_replaced_in_the_middle_of_a_run_is_noticed(little):
    replace = f"from pathlib import Path\nPath({str(little / 'models' / 'best_emotion_model.json')!r}).write_text({json.dumps(MANIFEST | {'run': 'drawn-other'})!r})\nopen({str(little / 'ran')!r}, 'a').write('03_evaluate ')"
    little_notebook(little / "nbs", "03_evaluate", body=replace)
    words, ended = three_steps(little)
    assert words == ["02_train", "03_evaluate"] and isinstance(ended, ModelError) and "another training" in ended.problem and "--name" in ended.remedy
    assert (little / "output" / MANIFEST["run"] / "notebooks" / "03_evaluate.ipynb").is_file()


@ONLY_UNIX
def test_ctrl_c_leaves_cleanly_and_says_how_to_go_on(little):
    little_notebook(little / "nbs", "01_data", body=f"import os, time\nopen({str(little / 'ran')!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    heeds = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # a shell's background job ignores it, and so would its children
    process = pipeline(little, "data", start_new_session=True, **heeds)
    deadline = time.monotonic() + 120
    while not (little / "ran").exists() or not (little / "ran").read_text():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(.05)
    kernel = int((little / "ran").read_text())
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Stopped. The same command starts again." in errors and "Traceback" not in errors, errors
    for _ in range(200):
        if not Path(f"/proc/{kernel}").exists() or "Z" in Path(f"/proc/{kernel}/stat").read_text().split()[2]:
            break
        time.sleep(.05)
    else:
        os.kill(kernel, signal.SIGKILL)
        raise AssertionError("the kernel still runs")
    assert [path.name for path in (little / "output").rglob("*") if path.is_file()] == [] and not list((little / "output").glob(".running-*"))


def test_ctrl_c_while_modules_are_loaded_prints_no_traceback():
    code = """
import sys, emotion_maps
class Loading:
    def find_spec(self, name, *others):
        if name == 'emotion_maps.pipeline': raise KeyboardInterrupt
sys.meta_path.insert(0, Loading())
sys.exit(emotion_maps.command())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr.split("\n") == ["", "Stopped before anything was done.", ""] and not done.stdout
