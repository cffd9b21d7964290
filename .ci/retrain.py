"""Make a shipped network again from nothing: the commands that `emotion_maps.recipes.retraining` names, one after another, but for those that ship.

usage: python .ci/retrain.py NAME FER2013.zip [--models models]     (what its very command has made in the models' folder already is not made again; a training that was interrupted goes on)
"""
import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from emotion_maps.core import EmotionMapsError, MissingStepError, ModelError, find_path, place
from emotion_maps.data import is_drawn, load_faces
from emotion_maps.recipes import file_made_by, parameters_in, retraining
from emotion_maps.train import manifest_beside, training_command


def put_in(command: str, data: str, models: str) -> tuple[dict[str, str], list[str]]:
    """A command with the data and the folder of models put in: the environment variables set before it, and its words from the notebook on."""
    words = shlex.split(command)
    at = words.index("papermill")
    told = parameters_in(command)
    for name in {"start", "teacher", "average", "model"} & {*told}:
        told[name] = ",".join(f"{models}/{Path(path).name}" if path.startswith("models/") else path for path in told[name].split(","))
    if "data" in told:
        told["data"] = data
    if Path(words[at + 1]).stem == "02_train":
        told["models"] = models
    return {"KERAS_BACKEND": "tensorflow"} | dict(word.split("=", 1) for word in words[:at]), [*words[at + 1:at + 3], *(word for name, value in told.items() for word in ("-p", name, value))]


def require_same(path: Path, command: str, data: str) -> None:
    """Raise `ModelError` unless the model at `path` was made by this command, from these data."""
    wanted = parameters_in(command) | put_in(command, data, "models")[0] | {"data": load_faces(data).source if is_drawn(data) else Path(data).name}
    manifest = manifest_beside(path)
    found = parameters_in(training_command(manifest)) | {"KERAS_BACKEND": manifest["backend"]} if manifest else {}
    differs = [f"{key} {found.get(key, 'as usual')} where {wanted.get(key, 'as usual')} is wanted" for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
    if differs:
        how = f"with {', '.join(differs)}" if manifest else f"in a way that is not known: there is no {path.with_suffix('.json').name} beside it"
        raise ModelError(f"{path} was made {how}", "move it away, or give another folder by --models")


def require_backends(commands: list[str]) -> None:
    """Raise `MissingStepError` when a command runs under a backend that is not installed here."""
    for command in commands:
        backend = put_in(command, "", "models")[0]["KERAS_BACKEND"]
        if not find_spec(backend):
            raise MissingStepError(f"{file_made_by(command)} was trained under {backend}, which is not installed here", f"pip install {backend}")


def retrain(name: str, data: str, models: str = "models") -> list[str]:
    """Run the commands, but for those that ship: they are printed, and returned. Raises `MissingStepError` for a backend that is not installed, `ModelError` for a command that fails."""
    data = data if data == "kaggle" or data.startswith("drawn") else str(find_path(data))
    chain, left = retraining(name), []
    require_backends([command for command in chain if file_made_by(command) and not (place(models) / file_made_by(command)).is_file()])
    for number, command in enumerate(chain, 1):
        environment, (notebook, _, *words) = put_in(command, data, models)
        file = file_made_by(command)
        if not file:
            left.append(shlex.join(["papermill", notebook, "out.ipynb", *words]))
            continue
        exists = (place(models) / file).is_file()
        print(f"{number}/{len(chain)} {file}" + " is there already" * exists, flush=True)
        if exists:
            require_same(place(models) / file, command, data)
            continue
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run([sys.executable, "-m", "papermill", notebook, str(Path(folder) / "out.ipynb"), *words], env=os.environ | environment, cwd=place("."))
        if ended.returncode:
            raise ModelError(f"`{command}` ended with exit code {ended.returncode}", "see what it said above; the same call goes on from there")
    print("To put it into the package:", *left, sep="\n")
    return left


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("data")
    parser.add_argument("--models", default="models")
    given = parser.parse_args()
    try:
        retrain(given.name, given.data, given.models)
    except EmotionMapsError as error:
        sys.exit(str(error))
