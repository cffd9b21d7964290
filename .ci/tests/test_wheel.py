"""The wheel in an empty environment, used from another folder."""
import subprocess
import sys
import venv
from configparser import ConfigParser
from pathlib import Path

import pytest

from emotion_maps.pipeline import STEPS

USE = """
import sys
from pathlib import Path
import numpy as np
import emotion_maps
from emotion_maps.data import load_faces, split_faces
from emotion_maps.pipeline import notebooks_folder
assert 'site-packages' in emotion_maps.__file__ and 'site-packages' in str(notebooks_folder())
faces = load_faces('drawn:140,70')
from emotion_maps.train import train
trained = train('drawn:140,70', epochs=1, filters=(4, 6, 8), dense=(16,))
from emotion_maps.activation_maps import activation_maps, overlay
maps = activation_maps(trained.model, faces.images[:3])
assert [tuple(layer.shape) for layer in maps.values()] == [(3, 48, 48, 4), (3, 24, 24, 6), (3, 12, 12, 8)]
picture = overlay(faces.images[0], maps['block1_conv1'][0, ..., 0])
from emotion_maps.recipes import load_pretrained
assert load_pretrained('default').predict(faces.images[:5, ..., None].astype('float32'), verbose=0).shape == (5, 7)
from PIL import Image
Image.fromarray(picture).save('overlay.png')
from emotion_maps.photo import example_photo, read_photo
assert read_photo(example_photo()).shape[2] == 3
from emotion_maps.report import page_file
assert '<html' in page_file('page.html') and page_file('page.css') and page_file('page.js')
assert not {'nbdev', 'fastcore'} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def installed(root, tmp_path_factory):
    """An environment with the wheel and what it requires, nothing else; returns its bin folder."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(["git", "clone", "--quiet", root, folder / "clone"], check=True)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", folder / "clone"]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(folder / "env", with_pip=True)
    wheel = next((folder / "dist").glob("*.whl"))
    install = [folder / "env" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", root / "requirements.txt", wheel]
    subprocess.run(install, check=True, capture_output=True)
    return folder / "env" / "bin"


def test_requirements_have_no_development_tools(root):
    settings = ConfigParser(delimiters=["="])
    settings.read(root / "settings.ini")
    assert "nbdev" not in settings["DEFAULT"]["requirements"] and "fastcore" not in settings["DEFAULT"]["requirements"]


def test_lock_holds_every_requirement(root):
    settings = ConfigParser(delimiters=["="])
    settings.read(root / "settings.ini")
    pinned = {line.split("==")[0].lower() for line in (root / "requirements.txt").read_text().splitlines() if "==" in line}
    wanted = settings["DEFAULT"]["requirements"].split() + settings["DEFAULT"]["dev_requirements"].split()
    import re

    assert {re.split(r"[<>=]", name)[0].lower() for name in wanted} <= pinned


def test_wheel_imports_loads_trains_and_draws(installed, tmp_path):
    done = subprocess.run([installed / "python", "-c", USE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "overlay.png").is_file() and (tmp_path / "models" / "best_emotion_model.keras").is_file()
    done = subprocess.run([installed / "python", "-c", "import nbdev"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in done.stderr


def test_command_of_the_wheel_reads_faces(installed, tmp_path):
    done = subprocess.run([installed / "emotion-maps", "data", "--data", "drawn:140,70"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert Path(done.stdout.splitlines()[-1]) == tmp_path / "activation_maps_output"
    assert [path.name for path in tmp_path.glob("activation_maps_output/**/*.ipynb")] == ["01_data.ipynb"]


@pytest.mark.slow
def test_command_of_the_wheel_trains(installed, tmp_path):
    done = subprocess.run([installed / "emotion-maps", "train", "--data", "drawn:140,70", "--epochs", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = Path(done.stdout.splitlines()[-1])
    assert summary.is_relative_to(tmp_path / "activation_maps_output") and summary.is_file()
    assert {path.stem for path in summary.parent.glob("notebooks/*.ipynb")} == {"02_train"}


@pytest.mark.slow
def test_command_of_the_wheel_runs_all_steps(installed, tmp_path):
    command = [installed / "emotion-maps", "run", "--data", "drawn:140,70", "--epochs", "1", "--filters", "4,6,8", "--faces", "35", "--pairs", "4", "--starts", "1", "--steps", "8"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = Path(done.stdout.splitlines()[-1])
    assert summary.is_relative_to(tmp_path / "activation_maps_output") and summary.is_file()
    assert {path.stem for path in summary.parent.glob("notebooks/*.ipynb")} == set(STEPS.values())
