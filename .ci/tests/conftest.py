"""What the tests share: the project's root, a small trained model, FER2013 when its path is given."""
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT / ".ci"))  # scripts there import one another
LONG = ("test_steps", "test_wheel", "test_backends", "test_photo")


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that no worker is left alone with one of them at the end (with --no-loadscope-reorder)."""
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def script():
    """A function that gives a script of `.ci`, by its name, as a module."""
    def load(name):
        spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def fer2013():
    """The path of FER2013's ZIP, from EMOTION_MAPS_FER2013."""
    path = os.environ.get("EMOTION_MAPS_FER2013")
    if not path:
        pytest.skip("set EMOTION_MAPS_FER2013 to the path of fer2013.zip to run this test")
    return Path(path)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """The path of a small network trained for an epoch on a few drawn faces, with its manifest."""
    folder = tmp_path_factory.mktemp("models")
    code = f"from emotion_maps.train import demo_training; demo_training({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    return folder / "best_emotion_model.keras"
