"""The wheel, unpacked beside the libraries that are here or (long) in an empty environment, used from another folder."""
import ast
import os
import subprocess
import sys
import venv
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from emotion_maps.pipeline import STEPS

USE = """
import sys
from pathlib import Path
import numpy as np
import emotion_maps
from emotion_maps.data import load_faces, split_faces
from emotion_maps.pipeline import notebooks_folder
assert all(Path(sys.argv[1]).resolve() in Path(path).resolve().parents for path in (emotion_maps.__file__, notebooks_folder()))
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
assert not {'nbdev', 'execnb', 'fastcore', 'pytest', 'hypothesis'} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """The path of the wheel, built from what is committed."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(["git", "clone", "--quiet", root, folder / "clone"], check=True)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", folder / "clone"]
    subprocess.run(build, check=True, capture_output=True)
    return next((folder / "dist").glob("*.whl"))


def pip(python, *arguments):
    subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    """A folder with the wheel alone, and a function that runs a command with it before all that is installed here."""
    folder = tmp_path_factory.mktemp("unpacked")
    pip(sys.executable, "--no-deps", "--target", folder, wheel)
    return folder, lambda *words, cwd: subprocess.run(words, cwd=cwd, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(root, wheel, tmp_path_factory):
    """An environment with the wheel and what it requires, nothing else; returns its bin folder."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    pip(folder / "bin" / "python", "-c", root / "requirements.txt", wheel)
    return folder / "bin"


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


def every_requirement(path, extras=("",)):
    """The names of all distributions that the one with its metadata at this path requires, and those require, and so on."""
    names, asked = set(), [(next(metadata.distributions(name="emotion-maps", path=[str(path)])), extras)]
    while asked:
        distribution, extras = asked.pop()
        for wanted in map(Requirement, distribution.requires or ()):
            name = canonicalize_name(wanted.name)
            if name in names or wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
                continue
            names.add(name)
            asked += [(found, ("", *wanted.extras)) for found in metadata.distributions(name=wanted.name)]
    return names


def test_every_import_of_the_package_is_required(unpacked):
    """Also those inside functions; a backend that TensorFlow can be replaced with is the user's to install."""
    folder, _ = unpacked
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (folder / "emotion_maps").glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names] + [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    modules = {name.partition(".")[0] for name in named} - set(sys.stdlib_module_names) - {"emotion_maps", "torch"}
    owners, required = metadata.packages_distributions(), every_requirement(folder, ("", "distributed"))
    assert {"numpy", "keras", "matplotlib", "IPython"} <= modules and {"numpy", "keras", "traitlets"} <= required and not {"nbdev", "pytest"} & required
    foreign = {module for module in modules if not required & set(map(canonicalize_name, owners.get(module, ())))}
    assert not foreign


def check_use(done, folder):
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / "overlay.png").is_file() and (folder / "models" / "best_emotion_model.keras").is_file()


def test_wheel_imports_loads_trains_and_draws(unpacked, tmp_path):
    folder, run = unpacked
    check_use(run(sys.executable, "-c", USE, folder, cwd=tmp_path), tmp_path)


@pytest.mark.slow
def test_wheel_in_an_empty_environment(installed, tmp_path):
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    check_use(subprocess.run([installed / "python", "-c", USE, installed.parent], cwd=tmp_path, env=alone, capture_output=True, text=True), tmp_path)
    done = subprocess.run([installed / "python", "-c", "import nbdev"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in done.stderr


def test_command_of_the_wheel_reads_faces(unpacked, tmp_path):
    folder, run = unpacked
    done = run(folder / "bin" / "emotion-maps", "data", "--data", "drawn:140,70", cwd=tmp_path)
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
