"""Loading faces where processes matter (two at once, one killed), and on the real FER2013 when EMOTION_MAPS_FER2013 names its ZIP."""
import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from emotion_maps.core import EMOTIONS
from emotion_maps.data import CSV_CODES, FER2013_COUNTS, Faces, copies_in, identical_groups, load_faces, split_faces


def python(code, *arguments, **environment):
    """A process of its own that runs the code."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stdin=subprocess.PIPE,
                            text=True, env={**os.environ, **environment})


@pytest.fixture
def small_set(tmp_path):
    """A folder with train/ and test/, five random images of each emotion."""
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for emotion in EMOTIONS:
            folder = tmp_path / "faces" / part / emotion
            folder.mkdir(parents=True)
            for number in range(5):
                Image.fromarray(random.integers(0, 256, (48, 48), "uint8")).save(folder / f"{number}.png")
    return tmp_path / "faces"


def test_import_loads_no_framework():
    code = """
import sys, emotion_maps.data
heavy = {'tensorflow', 'keras', 'sklearn', 'matplotlib', 'pandas', 'kagglehub', 'PIL'} & set(sys.modules)
assert not heavy, heavy
"""
    process = python(code)
    process.communicate()
    assert process.returncode == 0


LOAD = """
import sys
from emotion_maps.data import load_faces
print('ready', flush=True)
sys.stdin.readline()
faces = load_faces(sys.argv[1], cache=sys.argv[2])
print(faces.fingerprint, type(faces.images).__name__, int(faces.images.sum(dtype='int64')))
"""


def load_at_once(source, cache, count=3):
    """What several processes print that load the same source at the same moment."""
    processes = [python(LOAD, source, cache) for _ in range(count)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate()[0].strip() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    return answers


def test_processes_at_once_share_one_cache(small_set, tmp_path):
    expected = load_faces(small_set, cache=False)
    due = f"{expected.fingerprint} memmap {int(expected.images.sum(dtype='int64'))}"
    cache = tmp_path / "cache"
    for _ in range(3):
        assert load_at_once(small_set, cache) == [due] * 3
        (entry,) = cache.iterdir()
        assert entry.name.startswith("faces-")
        (entry / "images.npy").write_bytes(b"damaged")  # the next round finds a damaged entry, at once as well
    (entry / "note.json").unlink()
    assert load_at_once(small_set, cache) == [due] * 3
    assert len(list(cache.iterdir())) == 1


KILLED = """
import os, sys, time
import numpy as np
from emotion_maps import data
stop, real_save, real_rename = sys.argv[3], np.save, os.rename
def halt():
    print('halted', flush=True)
    time.sleep(600)
def save(file, array, **settings):
    real_save(file, array, **settings)
    if stop == os.path.basename(file.name):
        file.seek(0)
        file.truncate(200)
        file.flush()
        halt()
def rename(old, new):
    if stop == 'rename': halt()
    real_rename(old, new)
np.save, os.rename = save, rename
data.load_faces(sys.argv[1], cache=sys.argv[2])
"""


@pytest.mark.parametrize("moment", ["images.npy", "usage.npy", "rename"])
def test_killed_while_writing_leaves_nothing_that_counts(small_set, tmp_path, moment):
    cache = tmp_path / "cache"
    process = python(KILLED, small_set, cache, moment)
    assert process.stdout.readline() == "halted\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close(), process.stdin.close()
    assert [path.name[:6] for path in cache.iterdir()] == [".part-"]
    expected = load_faces(small_set, cache=False)
    again = load_faces(small_set, cache=cache)
    assert type(again.images) is np.memmap and again.fingerprint == expected.fingerprint and list(again.names) == list(expected.names)
    assert np.array_equal(load_faces(small_set, cache=cache).images, expected.images)


# --- the real data ---------------------------------------------------------------------------------------------------------

PARTS = {"Training": 28709, "PublicTest": 3589, "PrivateTest": 3589}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def faces(fer2013, cache):
    return load_faces(fer2013, cache=cache)


def test_fer2013_counts(faces):
    counts = faces.counts()
    assert list(counts.index) == list(EMOTIONS)
    assert counts.sum().to_dict() == {usage: PARTS[usage] for usage in counts}
    assert tuple(counts["Training"]) == FER2013_COUNTS["train"]
    public = (467, 56, 496, 895, 607, 653, 415)
    assert tuple(counts["PublicTest"]) == public
    if "PrivateTest" in counts:
        assert tuple(counts["PrivateTest"]) == tuple(both - one for both, one in zip(FER2013_COUNTS["test"], public))


def test_fer2013_repeats_and_leaks(faces):
    known = faces[faces.usage != "PrivateTest"]
    groups = identical_groups(known.images)
    repeats = groups != np.arange(len(known))
    assert repeats.sum() == 1532 and len(set(groups[repeats])) == 1273
    assert len(set(groups[known.labels != known.labels[groups]])) == 47
    assert copies_in(known[known.usage == "PublicTest"], known[known.usage == "Training"]).sum() == 280


def test_fer2013_splits(faces):
    official = split_faces(faces)
    assert official.kind == "official" and len(official.train) == PARTS["Training"]
    assert set(official.validation.usage) == {"PublicTest"}
    missing = "PrivateTest" not in faces.usage
    assert ("PrivateTest is missing" in official.note) == missing and (official.test is official.validation) == missing
    own = split_faces(faces, "folders", validation=0.1)
    assert len(own.train) + len(own.validation) == PARTS["Training"] and not copies_in(own.validation, own.train).any()
    shares = np.bincount(own.validation.labels) / FER2013_COUNTS["train"]
    assert np.allclose(shares, 0.1, atol=0.002)


def test_fer2013_second_load_comes_from_the_cache(fer2013, cache, faces, monkeypatch):
    monkeypatch.setattr("emotion_maps.data.decode_image", None)
    again = load_faces(fer2013, cache=cache)
    assert type(again.images) is np.memmap and again.fingerprint == faces.fingerprint


def same(one: Faces, other: Faces):
    return (np.array_equal(one.images, other.images) and np.array_equal(one.labels, other.labels)
            and np.array_equal(one.usage, other.usage) and one.fingerprint == other.fingerprint)


def test_fer2013_unpacked_is_the_same(fer2013, faces, tmp_path):
    with zipfile.ZipFile(fer2013) as archive:
        archive.extractall(tmp_path / "train:test for emotion model")
    unpacked = load_faces(tmp_path / "train:test for emotion model", cache=tmp_path / "cache")
    assert same(unpacked, faces) and list(unpacked.names) == list(faces.names)


@pytest.mark.parametrize("name, header, every", [("fer2013.csv", "emotion,pixels,Usage", 1), ("icml_face_data.csv", "emotion, Usage, pixels", 20)])
def test_fer2013_as_csv_is_the_same(faces, tmp_path, name, header, every):
    faces, columns = faces[::every], [column.strip() for column in header.split(",")]
    with open(tmp_path / name, "w") as file:
        file.write(header + "\n")
        for image, label, usage in zip(np.asarray(faces.images), faces.labels, faces.usage):
            row = {"emotion": str(CSV_CODES.index(EMOTIONS[label])), "pixels": " ".join(map(str, image.ravel().tolist())), "Usage": usage}
            file.write(",".join(row[column] for column in columns) + "\n")
    assert same(load_faces(tmp_path / name, cache=False), faces)
    (tmp_path / name).unlink()
