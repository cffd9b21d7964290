"""The report: one file that holds what a run left, says what is missing, and lets nothing from outside become markup."""
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import nbformat
import numpy as np
import pytest

BIN = Path(sys.executable).parent
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<b>\u2028"


def small_run(model, folder, name="", emotion=""):
    """A run's folder with scores, answer and atlas of a small model, written as the steps write them; `name` gets into every string that they hold."""
    from emotion_maps.core import write_json
    from emotion_maps.evaluate import predict, scores
    from emotion_maps.filter_atlas import ATLAS_NAME, finish_atlas, gather, plan_atlas, regions_of_faces
    from emotion_maps.recipes import open_model
    from emotion_maps.train import faces_of, run_folder

    trained = open_model(model)
    split = faces_of(trained)
    folder = run_folder(trained, split, folder)
    emotions = [emotion or split.test.emotions[0], *split.test.emotions[1:]]
    found = scores(predict(trained.model, split.test.images), split.test.labels, emotions, np.arange(len(split.test)) < 5, name)
    write_json(folder / "scores.json", {"part": "test", "data": "drawn:140,70", "command": f"papermill {name}"} | found)
    seen = split.train[:40]
    plan = plan_atlas(trained.model, seen.images, regions_of_faces(seen), sample=20)
    atlas = finish_atlas(trained.model, seen, gather(trained.model, seen, regions_of_faces(seen), plan), plan,
                         {key: trained.manifest[own] for key, own in (("model", "fingerprint"), ("data_fingerprint", "data_fingerprint"))})
    effect = np.linspace(-.4, .2, len(atlas.table))
    columns = {"effect": effect, "effect_low": effect - .1, "effect_high": effect + .1, "effect_q": np.where(np.abs(effect) > .1, .01, .5)}
    columns |= {f"effect_{emotion}{end}": effect + shift for emotion in split.test.emotions for end, shift in (("", 0), ("_low", -.05), ("_high", .05))}
    images = {f"optimised/{layer}": np.full((len(rows), 48, 48), 90, "uint8") for layer, rows in atlas.table.groupby("layer")}
    atlas.joined(atlas.table[["layer", "filter"]].assign(**columns), images, ablation={"faces": 70}).save(folder / ATLAS_NAME)
    density, verdicts = [], []
    for number, layer in enumerate(atlas.about["layers"]):
        for label, emotion in enumerate(emotions[:6]):
            density += [{"layer": layer, "emotion": emotion, "region": region, "density": .1 * label - .2, "density_low": .1 * label - .3, "density_high": .1 * label - .1, "sure": label != 2, "expected": region == "mouth"}
                        for region in ("left_eye", "mouth", "outside")]
            verdicts.append({"layer": layer, "emotion": emotion, "difference": .1, "low": 0., "high": .2, "p_holm": .03, "shortcut": label == 1, "verdict": ("expected regions", "other regions", "cannot be told")[number]})
    follow = [{"emotion": emotions[0], "part": "mouth", "following": 1., "low": .5, "high": 1.5, "expected": True}]
    write_json(folder / "answer.json", {"model": "small", "data": f"drawn {name}", "faces": 70, "accuracy": .5, "command": f"papermill {name}", "density": density, "verdicts": verdicts, "follow": follow, "control": {}})
    return trained, folder


@pytest.fixture(scope="module")
def run(small_model, tmp_path_factory):
    return small_run(small_model, tmp_path_factory.mktemp("report"))


def blocks(page):
    return {name: text for name, text in re.findall(r'<script type="[^"]*" id="([^"]+)">(.*?)</script>', page, re.S)}


class Elements(HTMLParser):
    """Every element of a page with its attributes, and whether the tags close in the order in which they open."""

    EMPTY = {"meta", "input", "br", "img", "link"}

    def __init__(self):
        super().__init__()
        self.found, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def elements(page):
    parser = Elements()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser.found


def test_page_is_whole_and_loads_nothing(run):
    from emotion_maps.report import write_report

    trained, folder = run
    page = write_report(folder, trained).read_text(encoding="utf-8")
    found = elements(page)
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in found}
    assert not [attributes for _, attributes in found if "src" in attributes or "style" in attributes or any(name.startswith("on") for name in attributes)]
    assert all(attributes["href"].startswith("#") for tag, attributes in found if tag == "a")
    assert {attributes["href"][1:] for tag, attributes in found if tag == "a"} <= set(ids)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert not list(folder.glob(".part-*"))


def test_numbers_on_the_page_are_those_of_the_files(run):
    from emotion_maps.report import report_content

    trained, folder = run
    content, scores = report_content(folder, trained), json.loads((folder / "scores.json").read_text())
    assert [[cell["count"] for cell in row["cells"]] for row in content["scores"]["confusion"]] == scores["confusion"]
    assert content["headline"][0]["value"] == f"{100 * scores['accuracy']:.1f}\u202f%"
    assert f"{100 * scores['without_copies']['accuracy']:.1f}" in content["headline"][1]["value"] and "5 faces left out" in content["headline"][1]["detail"]
    assert [row["cells"][0]["mark"] for row in content["answer"]["verdicts"]] == ["●"] * 6 and [cell["mark"] for cell in content["answer"]["verdicts"][0]["cells"]] == ["●", "▽", "–"]
    assert content["data"]["facts"]["columns"]["effect"][0] == -.4 and content["data"]["facts"]["first"]["layer"] == 2
    assert content["absent"] == []


def test_maps_in_the_page_are_the_networks(run):
    import base64
    import gzip

    from emotion_maps.activation_maps import activation_maps
    from emotion_maps.report import report_content, shown_faces

    trained, folder = run
    data = report_content(folder, trained)["data"]
    true = activation_maps(trained.model, shown_faces().images)
    for number, layer in enumerate(data["facts"]["layers"]):
        own = true[layer["name"]]
        shape = (own.shape[0], own.shape[3], *own.shape[1:3])
        painted = np.frombuffer(gzip.decompress(base64.b64decode(data["blocks"][f"maps-{number}"])), "uint8").reshape(shape).transpose(0, 2, 3, 1)
        high = np.array(layer["high"])
        assert not layer["signed"] and (np.abs(painted / 255 * high - own) <= high * (1 / 510 + 1e-3)).all()


def test_hostile_strings_stay_text(small_model, tmp_path):
    from dataclasses import replace

    from emotion_maps.report import render, report_content
    from emotion_maps.train import faces_of

    trained, folder = small_run(small_model, tmp_path, HOSTILE, HOSTILE)
    manifest = trained.manifest | {"note": HOSTILE, "run": HOSTILE, "name": HOSTILE, "command": HOSTILE, "preset": HOSTILE, "parameters": {HOSTILE: [HOSTILE]}, "versions": {HOSTILE: HOSTILE},
                                   "emotions": [HOSTILE, *trained.manifest["emotions"][1:]]}
    faces = replace(faces_of(trained).test[:2], names=np.array([HOSTILE] * 2), source="")
    harmless = elements(render(report_content(folder, trained)))
    page = render(report_content(folder, trained._replace(manifest=manifest, path=Path("<b>.keras")), faces))
    found = elements(page)
    assert not [tag for tag, attributes in found if tag in ("img", "b") and "src" in attributes]
    assert sum(tag == "script" for tag, _ in found) == sum(tag == "script" for tag, _ in harmless)
    assert not [attributes for _, attributes in found if any(name.startswith("on") for name in attributes)]
    assert json.loads(blocks(page)["data"])["faces"][0]["name"] == HOSTILE
    assert not set("<>&\u2028") & set(blocks(page)["data"])


def test_what_is_missing_is_named_with_the_command_that_makes_it(run, tmp_path):
    from emotion_maps.report import read_run, write_report

    trained, _ = run
    page = write_report(tmp_path, trained).read_text(encoding="utf-8")
    assert {part["command"] for part in read_run(tmp_path, trained).absent} == {"emotion-maps evaluate", "emotion-maps atlas"}
    assert page.count('class="absent"') >= 3 and "<code>emotion-maps evaluate</code>" in page and "maps-0" in blocks(page) and "mean-0" not in blocks(page)


def test_no_face_of_the_data_unless_it_is_drawn_or_asked_for(run, tmp_path):
    import shutil

    from emotion_maps.report import report_content

    trained, folder = run
    assert "favourites-0" in report_content(folder, trained)["data"]["blocks"]
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    photographs = trained._replace(manifest=trained.manifest | {"data": "/somewhere/drawn"})
    data = report_content(tmp_path, photographs)["data"]
    assert not [name for name in data["blocks"] if name.startswith("favourites")] and "favourites-0" in report_content(tmp_path, photographs, patches=True)["data"]["blocks"]
    assert report_content(folder, trained, patches=False)["data"]["blocks"].keys() == data["blocks"].keys()


def test_damaged_and_foreign_files_are_refused_and_nothing_is_written(run, tmp_path):
    import shutil

    from emotion_maps.backend import import_keras
    from emotion_maps.core import DataError
    from emotion_maps.report import write_report

    trained, folder = run
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink(missing_ok=True)
    with pytest.raises(DataError, match="another network"):
        write_report(tmp_path / "run", trained._replace(model=import_keras().models.clone_model(trained.model)))  # other weights
    (tmp_path / "run" / "scores.json").write_text("{")
    with pytest.raises(DataError, match="scores.json"):
        write_report(tmp_path / "run", trained)
    assert not (tmp_path / "run" / "report.html").exists() and not list((tmp_path / "run").glob(".part-*"))


def test_report_of_the_shipped_network_stays_small(tmp_path):
    """896 filters, an atlas of noise, which gzip cannot shorten: the worst case."""
    from emotion_maps.activation_maps import activation_maps
    from emotion_maps.recipes import open_model
    from emotion_maps.report import packed, shown_faces, write_report

    trained = open_model("default")
    size = write_report(tmp_path, trained).stat().st_size
    shapes = [maps.shape[1:] for maps in activation_maps(trained.model, shown_faces().images[:1]).values()]
    noise = np.random.default_rng(0)
    size += sum(len(packed(noise.integers(0, 256, (filters, 48, 48)))) + len(packed(noise.integers(0, 256, (filters, height, width)))) for height, width, filters in shapes)
    assert size < 13e6  # leaves two for the average patches and the tables


def test_own_photo_becomes_a_face_on_the_page():
    pytest.importorskip("mtcnn", reason="needs mtcnn: .venv/bin/python -m pip install mtcnn")
    from emotion_maps.photo import example_photo
    from emotion_maps.report import own_faces, shown_faces

    shown = shown_faces(own_faces(example_photo()))
    assert shown.images.shape == (1, 48, 48) and example_photo().name in shown.names[0]


def test_files_of_the_page_come_with_the_package(root):
    assert all((Path(str(files("emotion_maps"))) / "report_page" / name).is_file() for name in ("page.html", "page.css", "page.js"))
    assert '"report_page/*"' in (root / "setup.py").read_text()


@pytest.mark.slow
def test_report_step_with_a_parameter_changed(root, tmp_path, small_model):
    command = [BIN / "papermill", "nbs/06b_report.ipynb", tmp_path / "out.ipynb", "--no-progress-bar", "-p", "model", small_model, "-p", "output", tmp_path, "-p", "report_file", tmp_path / "mine.html"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "mine.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    printed = "".join(output.get("text", "") for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells for output in cell.get("outputs", []))
    assert "emotion-maps evaluate" in printed
