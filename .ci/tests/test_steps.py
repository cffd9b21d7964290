"""The steps as a user runs them: papermill at the project's root, the console command, killed and run again."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest

from emotion_maps.pipeline import STEPS

BIN = Path(sys.executable).parent
TINY = "drawn:140,70"


def papermill(root, step, target, *arguments, **environment):
    command = [BIN / "papermill", f"nbs/{step}.ipynb", target, "--no-progress-bar", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, env={**os.environ, **environment})


def parameters(**values):
    return [word for name, value in values.items() for word in ("-p", name, str(value))]


def printed(path):
    return "".join(output.get("text", "") for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", []))


@pytest.mark.slow
def test_data_step_with_another_split(root, tmp_path):
    done = papermill(root, "01_data", tmp_path / "out.ipynb", *parameters(data="drawn:70,35", split="folders", validation=0.2))
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_maps_step_with_a_parameter_changed(root, tmp_path, small_model):
    done = papermill(root, "04_activation_maps", tmp_path / "out.ipynb", *parameters(model=small_model, output=tmp_path, show_filters=2))
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(tmp_path.glob("*/figures/*.png"))) >= 4


@pytest.mark.slow
def test_browse_step_with_a_parameter_changed(root, tmp_path, small_model):
    done = papermill(root, "06_browse", tmp_path / "out.ipynb", *parameters(model=small_model, image=3))
    assert done.returncode == 0, done.stderr[-3000:]
    last = [output for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert last


@pytest.mark.parametrize("step", ["01_data", "02_train", "03_evaluate", "04_activation_maps", "06_browse", "06a_photo", "06b_report", "07_pipeline"])
def test_misspelt_parameter_is_refused_under_bare_papermill(root, step):
    """The check stands in the notebook's own cells: run just the parameters, papermill's cell and the check."""
    notebook = nbformat.read(root / "nbs" / f"{step}.ipynb", 4)
    tagged = next(number for number, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    later = [cell.source for cell in notebook.cells[tagged + 1:] if cell.cell_type == "code"]
    check = next(line for source in later for line in source.splitlines() if "check_parameters(globals())" in line)
    assert not any("train(" in source or "load_" in source for source in later[:[check in source for source in later].index(True)])
    notebook.cells = [nbformat.v4.new_code_cell("from emotion_maps.core import check_parameters"), notebook.cells[tagged], nbformat.v4.new_code_cell(check)]
    import papermill as pm

    source = root / "nbs" / f"_{step}-{os.getpid()}.ipynb"
    nbformat.write(notebook, source)
    try:
        if step == "02_train":  # what is spelt rightly is not refused
            pm.execute_notebook(source, None, {"seed": 1}, progress_bar=False, kernel_name="python3")
        with pytest.raises(pm.PapermillExecutionError, match="ParameterError"):
            pm.execute_notebook(source, None, {"misspelt": 1}, progress_bar=False, kernel_name="python3")
    finally:
        source.unlink()


TRAINING = "from emotion_maps.train import train; train({data!r}, models={models!r}, epochs=6, filters=(4, 6, 8), dense=(16,), schedule='plateau')"


def without_time(manifest):
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in manifest["history"]]


@pytest.mark.slow
def test_killed_training_ends_as_an_unbroken_one(tmp_path):
    manifests = []
    for name, kills in (("unbroken", 0), ("broken", 2)):
        models = tmp_path / name
        command = [sys.executable, "-c", TRAINING.format(data=TINY, models=str(models))]
        for kill in range(kills):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and process.poll() is None and epochs_done(models) <= 2 * kill:
                time.sleep(0.02)
            assert process.poll() is None, "the training ended before it could be killed"
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not (models / "best_emotion_model.keras").exists()
        subprocess.run(command, check=True, capture_output=True)
        manifests.append(json.loads((models / "best_emotion_model.json").read_text()))
    assert without_time(manifests[0]) == without_time(manifests[1])
    assert manifests[0]["files"]["best_emotion_model.h5"] and (tmp_path / "broken" / "best_emotion_model.keras").exists()
    import keras

    one, two = (keras.saving.load_model(tmp_path / name / "best_emotion_model.keras", compile=False).get_weights() for name in ("unbroken", "broken"))
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left, right)


def epochs_done(models):
    states = list((models / "runs").glob("*/state.npz"))
    if not states:
        return 0
    with np.load(states[0], allow_pickle=False) as state:
        return len(json.loads(str(state["facts"]))["history"])


def command(root, *arguments):
    return subprocess.run([BIN / "emotion-maps", *map(str, arguments)], cwd=root, capture_output=True, text=True)


def test_command_evaluate_with_a_parameter_changed(root, tmp_path, small_model):
    done = command(root, "evaluate", "--model", small_model, "--output", tmp_path, "--part", "validation", "--require-accuracy", "0.01")
    assert done.returncode == 0, done.stderr[-3000:]
    summary = Path(done.stdout.splitlines()[-1])
    scores = json.loads(next(tmp_path.glob("*/validation/scores.json")).read_text())
    assert summary.name == "summary.html" and scores["part"] == "validation" and 0 <= scores["interval"][0] <= scores["accuracy"] <= scores["interval"][1] <= 1


@pytest.mark.parametrize("arguments, words", [
    (("train", "--epoch", "2"), "--epoch"),
    (("train", "--data", "no/such/faces.zip"), "no/such/faces.zip"),
    (("train", "--preset", "brif"), "did you mean 'brief'"),
    (("evaluate", "--model", "no/model.keras"), "There is no trained model")])
def test_wrong_input_ends_with_code_2_and_one_line(root, tmp_path, arguments, words):
    done = command(root, *arguments, "--output", tmp_path)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, done.stderr


FEW = ("--atlas-faces", 70, "--faces", 35, "--starts", 1, "--steps", 8, "--pairs", 4, "--cards", 1, "--methods", "grad-cam,saliency", "--images", 1, "--show-filters", 2)


@pytest.mark.slow
def test_whole_run_on_a_few_drawn_faces(root, tmp_path):
    done = command(root, "run", "--data", TINY, "--epochs", 1, "--filters", "4,6,8", "--models", tmp_path / "models", "--output", tmp_path / "output", *FEW)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = Path(done.stdout.splitlines()[-1]).parent
    assert {path.stem for path in (folder / "notebooks").glob("*.ipynb")} == set(STEPS.values())
    from emotion_maps.filter_atlas import FilterAtlas

    atlas = FilterAtlas.load(folder / "atlas.parquet")
    assert len(atlas.table) == 18 and {"region", "emotion", "optimised_ratio", "effect", "effect_happy"} <= set(atlas.table) and atlas.table["effect"].notna().all()
    assert {row["emotion"] for row in json.loads((folder / "answer.json").read_text())["verdicts"]} <= set(atlas.about["emotions"])
    page = (folder / "summary.html").read_text()
    for figure in (folder / "figures").glob("*.png"):
        assert f"figures/{figure.name}" in page
    from PIL import Image

    assert all(round(Image.open(figure).info["dpi"][0]) == 300 for figure in (folder / "figures").glob("*.png"))


@pytest.mark.slow
def test_scores_on_fer2013_name_the_missing_part(root, tmp_path, fer2013):
    code = f"from emotion_maps.train import train; train({str(fer2013)!r}, models={str(tmp_path)!r}, epochs=1, filters=2, convolutions=1, dense=8, batch_size=512, train_faces=700)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    done = papermill(root, "03_evaluate", tmp_path / "out.ipynb", *parameters(model=tmp_path / "best_emotion_model.keras", output=tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    scores = json.loads(next(tmp_path.glob("*/scores.json")).read_text())
    assert scores["n"] == 3589 and "PrivateTest is missing" in scores["note"] and "PrivateTest is missing" in printed(tmp_path / "out.ipynb")
    assert scores["without_copies"]["n"] == 3589 - 280


@pytest.mark.slow
def test_make_run_in_a_fresh_clone(root, tmp_path):
    subprocess.run(["git", "clone", "--quiet", root, tmp_path / "clone"], check=True)
    done = subprocess.run(["make", "run", f"PYTHON={sys.executable}"], cwd=tmp_path / "clone", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = json.loads(next((tmp_path / "clone" / "activation_maps_output").glob("*/scores.json")).read_text())
    assert scores["accuracy"] > 0.9
    status = subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path / "clone", capture_output=True, text=True, check=True)
    assert status.stdout == ""


@pytest.mark.slow
def test_steps_with_the_shipped_network_need_no_training(root, tmp_path):
    for step, more in {"evaluate": (), "maps": ("--show-filters", 2, "--layers", "block1_conv1", "--images", 1)}.items():
        done = command(root, step, "--model", "default", "--data", TINY, "--output", tmp_path / "output", *more)
        assert done.returncode == 0, done.stderr[-3000:]
    folder = next((tmp_path / "output").glob("pretrained_default_on_*"))
    assert sorted(path.stem for path in (folder / "notebooks").glob("*.ipynb")) == ["03_evaluate", "04_activation_maps"]
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["model"] == "default.npz" and "not the faces the network was trained on (fer2013.zip)" in scores["note"]
    assert (folder / "summary.html").is_file() and [path.name for path in (tmp_path / "output").iterdir() if not path.name.startswith(".")] == [folder.name]


def test_run_with_the_shipped_network_refuses_what_is_for_training(root):
    refused = command(root, "run", "--model", "default", "--epochs", "2")
    assert refused.returncode == 2 and "epochs is for training" in refused.stderr


@pytest.mark.slow
def test_run_with_the_shipped_network_trains_nothing(root, tmp_path):
    done = command(root, "run", "--model", "default", "--data", TINY, "--output", tmp_path / "output", "--layers", "block1_conv1", *FEW)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = next((tmp_path / "output").glob("pretrained_default_on_*"))
    assert {path.stem for path in (folder / "notebooks").glob("*.ipynb")} == set(STEPS.values()) - {"02_train"}
