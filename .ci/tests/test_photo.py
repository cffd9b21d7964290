"""Photos as people have them: the awkward ones end well or in one of our errors, memory stays bounded, every backend finds the same face."""
import importlib.util
import io
import json
import os
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from emotion_maps.backend import backend_name
from emotion_maps.core import DataError, ParameterError
from emotion_maps.photo import (FER2013_MIDDLE, FER2013_SIZE, LONGEST_SIDE, PhotoBrowser, crop_face, crop_faces, example_photo, explain, explain_command,
                                find_faces, five_of, five_points, read_photo)


@pytest.fixture(scope="module")
def astronaut():
    return read_photo(example_photo())


def packed(picture, kind, **settings):
    with io.BytesIO() as file:
        picture.save(file, kind, **settings)
        return file.getvalue()


def test_example_is_small():
    assert example_photo().stat().st_size < 200_000


def test_crop_is_that_of_the_result(root):
    crop = json.loads((root / "nbs" / "results" / "06a_photo.json").read_text(encoding="utf-8"))["crop"]
    assert np.abs(np.subtract(crop["middle"], FER2013_MIDDLE)).max() < 0.051 and abs(crop["size"] - FER2013_SIZE) < 0.051


def test_crop_as_fer2013_measured_on_fer2013(root, fer2013):
    path = fer2013.with_name("landmarks68.npz")
    if not path.exists():
        pytest.skip("landmarks68.npz does not lie beside fer2013.zip")
    with np.load(path) as file:
        good = (file["presence"] >= 0.5) & (file["flip_error"] <= 0.15)
        middle, size, _ = five_points(five_of(file["points"][good].astype("float32")))
    assert np.abs(np.median(middle, 0) - FER2013_MIDDLE).max() < 0.1 and abs(np.median(size) - FER2013_SIZE) < 0.1


@pytest.mark.parametrize("kind", ["cmyk", "gray", "palette", "rgba", "gif", "sixteen", "webp", "sideways"])
def test_every_kind_of_photo_shows_the_same_face(kind, astronaut):
    picture = PIL.Image.fromarray(astronaut)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    content = {"cmyk": lambda: packed(picture.convert("CMYK"), "JPEG"), "gray": lambda: packed(picture.convert("L"), "PNG"), "palette": lambda: packed(picture.quantize(128), "PNG"),
               "rgba": lambda: packed(picture.convert("RGBA"), "PNG"), "gif": lambda: packed(picture, "GIF", save_all=True, append_images=[PIL.Image.new("RGB", picture.size)]),
               "sixteen": lambda: packed(PIL.Image.fromarray(np.asarray(picture.convert("L")).astype("uint16") * 257), "PNG"), "webp": lambda: packed(picture, "WEBP"),
               "sideways": lambda: packed(picture.rotate(90, expand=True), "JPEG", exif=exif)}[kind]()
    photo = read_photo(content)
    found = find_faces(photo)
    original = find_faces(astronaut)[0]
    assert len(found) == 1 and abs(found[0].side / original.side - 1) < 0.08
    assert np.corrcoef(crop_face(photo, found[0]).ravel(), crop_face(astronaut, original).ravel())[0, 1] > 0.95


def test_small_and_cut_photos_are_no_crash(astronaut):
    for size in (1, 19, 20, 48):
        assert isinstance(find_faces(np.zeros((size, size, 3), "uint8")), list)
    assert find_faces(np.zeros((2000, 21, 3), "uint8")) == []


def test_several_faces_are_numbered_from_the_largest(astronaut):
    double = np.concatenate([astronaut, np.asarray(PIL.Image.fromarray(astronaut).resize((256, 512)))[:, ::-1]], 1)
    found = find_faces(double)
    faces = crop_faces(double, found, "double")
    assert len(found) == 2 and found[0].side > found[1].side and faces.names.tolist() == ["double#1", "double#2"]


def test_fifty_megapixels_stay_in_bounds(tmp_path, astronaut):
    """A large JPEG and a large PNG are read and searched in a process that may not grow by more than a gigabyte."""
    large = PIL.Image.fromarray(astronaut).resize((7100, 7100), PIL.Image.Resampling.BILINEAR)
    large.save(tmp_path / "large.jpg", quality=80)
    large.save(tmp_path / "large.png", compress_level=1)
    code = f"""
from emotion_maps.core import peak_memory
from emotion_maps.photo import find_faces, read_photo, example_photo
find_faces(read_photo(example_photo()))
before = peak_memory()
for name in ('large.jpg', 'large.png'):
    photo = read_photo({str(tmp_path)!r} + '/' + name)
    print(max(photo.shape), len(find_faces(photo)), peak_memory() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for longest, faces, grown in (map(float, line.split()) for line in done.stdout.splitlines()):
        assert longest == LONGEST_SIDE and faces == 1 and grown < 1000, done.stdout


AWKWARD = {"letter.jpg": (b"Dear all, this is a letter.", "none of the formats"), "empty.png": (b"", "it is empty"), "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(99), "HEIC"),
           "bomb.png": (packed(PIL.Image.new("1", (16000, 16000)), "PNG"), "more pixels"), "page.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "none of the formats")}


@pytest.mark.parametrize("name", [*AWKWARD, "cut.jpg", "missing.jpg", "folder", "<b>odd & $name$.jpg"])
def test_command_ends_with_2_and_one_sentence(name, tmp_path, capsys, monkeypatch, astronaut):
    content, words = AWKWARD.get(name, (b"no photo", "none of the formats"))
    if name == "cut.jpg":
        content, words = example_photo().read_bytes()[:20_000], "truncated"
    if name == "missing.jpg":
        words = "no file or folder"
    elif name == "folder":
        (tmp_path / name).mkdir()
        words = "is not a file"
    else:
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert explain_command(name, output=tmp_path) == 2
    said = capsys.readouterr()
    assert words in said.err and name in said.err and said.err.count("\n") == 1 and not said.out and not list(tmp_path.rglob("*.png.part"))


def test_unknown_model_and_method(tmp_path, capsys):
    assert explain_command(example_photo(), method="grad-kam", output=tmp_path) == 2 and "grad-cam" in capsys.readouterr().err
    assert explain_command(example_photo(), model="defualt", output=tmp_path) == 2 and not list(tmp_path.iterdir())
    with pytest.raises(ParameterError):
        explain(example_photo(), method="none such")


def test_names_are_escaped_in_html_and_plain_in_figures(astronaut):
    browser = PhotoBrowser(photo=astronaut, name="<img src=x onerror=alert(1)> $\\frac{1}$.png", method="saliency")
    assert "<img" not in browser.message.value and browser.still()
    browser.show(b"nothing", "<img src=x>.png")
    assert "<img" not in browser.message.value and "&lt;img" in browser.message.value and browser.still() == b""


def test_nobody_there():
    with pytest.raises(DataError, match="No face was found in wall"):
        explain(np.full((300, 300), 120, "uint8"), name="wall")


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow), "torch"])
def test_every_backend_finds_the_same_face(backend, astronaut):
    if backend == backend_name() or not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is the backend here or is not installed")
    code = "from emotion_maps.photo import *\nface, = find_faces(read_photo(example_photo()))\nprint(*face.points.ravel())"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    here = find_faces(astronaut)[0].points.ravel()
    assert np.abs(np.array(done.stdout.split()[-10:], float) - here).max() < 0.1
