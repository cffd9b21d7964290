"""What the benchmarks of shipped networks on PublicTest share: the network with the faces that it was trained on, the file that keeps what was measured, and the call."""
import sys
from pathlib import Path

from emotion_maps.backend import backend_name
from emotion_maps.core import EmotionMapsError, ParameterError, write_json
from emotion_maps.data import load_faces, split_faces
from emotion_maps.recipes import open_pretrained
from emotion_maps.train import is_of_its_faces, split_fingerprint, versions


def split_and_network(data, name):
    """The faces, split, and a shipped network that was trained on them. Raises `DataError`, `ParameterError`."""
    split, network = split_faces(load_faces(data)), open_pretrained(name)
    if not is_of_its_faces(network.manifest, split):
        raise ParameterError(f"{name} was trained on other faces than {data} holds", "give the faces that it was trained on")
    return split, network


def keep(given, script, split, networks, found, told=""):
    """Write what a script `found` to the file of --result, where there is one, with the command, the faces and the SHA-256 of the networks ({name: mark})."""
    if given.result:
        write_json(given.result, {"note": split.note, "data": Path(split.train.source).name, "data_fingerprint": split_fingerprint(split), "networks": networks, "versions": versions(),
                                  "command": f"KERAS_BACKEND={backend_name()} python .ci/{script} {Path(given.data).name}{told} --result nbs/results/{Path(given.result).name}"} | found)


def call(measure, parser):
    """Measure as the words of the command say; an error that a user can mend ends in its words."""
    parser.add_argument("--result", help="also write the figures to this JSON file")
    try:
        measure(parser.parse_args())
    except EmotionMapsError as error:
        sys.exit(str(error))
