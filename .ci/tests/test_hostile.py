"""Inputs nobody wishes for: properties of the parsers that hold for any content, and one short test for every bug that the fuzz run has found."""
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from emotion_maps.core import EMOTIONS, DataError, EmotionMapsError, ModelError, ParameterError, WritingError, alone, file_name, place, read_arrays, read_json, write_json, write_whole
from emotion_maps.data import CSV_CODES, Faces, decode_image, load_faces, split_faces

often = settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
seldom = settings(often, max_examples=8)
seeds = some.integers(0, 2**32 - 1)


def png(values):
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(values).save(target, "PNG")
    return target.getvalue()


def faces_of(seed, each=1):
    """{path in the data set: image} with `each` random images of every emotion in both parts."""
    random = np.random.default_rng(seed)
    return {f"{part}/{emotion}/{number:03}.png": random.integers(0, 256, (48, 48), "uint8") for part in ("train", "test") for emotion in EMOTIONS for number in range(each)}


def same(faces, written):
    """Are these the images that were written, under their emotions?"""
    paths = sorted(written)
    np.testing.assert_array_equal(faces.images, np.stack([written[path] for path in paths]))
    assert [EMOTIONS[label] for label in faces.labels] == [path.split("/")[1] for path in paths]
    assert faces.names.tolist() == paths


# ---- what was written is what is read --------------------------------------------------------------------------------

@seldom
@given(seeds, some.integers(1, 2))
def test_folder_and_zip_give_back_what_was_written(tmp_path_factory, seed, each):
    folder, written = tmp_path_factory.mktemp("faces"), faces_of(seed, each)
    with zipfile.ZipFile(folder / "faces.zip", "w") as archive:
        for path, image in written.items():
            (folder / "faces" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "faces" / path).write_bytes(png(image))
            archive.writestr(f"archive/{path}", png(image))
    from_folder, from_zip = load_faces(folder / "faces", cache=False), load_faces(folder / "faces.zip", cache=False)
    same(from_folder, written)
    same(from_zip, written)
    assert from_folder.fingerprint == from_zip.fingerprint


def table(rows, header=("emotion", "pixels", "Usage"), ending="\n", start=b"", quotes=False):
    quote = '"' if quotes else ""
    return start + ending.join([",".join(header), *(",".join(f"{quote}{field}{quote}" for field in row) for row in rows)]).encode()


def rows_of(seed):
    random = np.random.default_rng(seed)
    return [(code, random.integers(0, 256, (48, 48), "uint8"), usage) for usage in ("Training", "PrivateTest", "PublicTest") for code in range(7)]


@seldom
@given(seeds, some.sampled_from(["\n", "\r\n"]), some.sampled_from([b"", b"\xef\xbb\xbf"]), some.booleans(), some.permutations(["emotion", "pixels", "Usage", "note"]))
def test_csv_gives_back_what_was_written(tmp_path_factory, seed, ending, start, quotes, order):
    path, rows = tmp_path_factory.mktemp("table") / "fer2013.csv", rows_of(seed)
    fields = [{"emotion": code, "pixels": " ".join(map(str, image.ravel())), "Usage": usage, "note": "x"} for code, image, usage in rows]
    path.write_bytes(table([[row[name] for name in order] for row in fields], order, ending, start, quotes))
    faces = load_faces(path, cache=False)
    found = {(EMOTIONS[label], usage): image for image, label, usage in zip(faces.images, faces.labels, faces.usage)}
    assert len(found) == len(rows)
    for code, image, usage in rows:
        np.testing.assert_array_equal(found[CSV_CODES[code], usage], image)


WRONG_PIXELS = some.one_of(some.integers(256, 10**30).map(str), some.integers(-(10**30), -1).map(str), some.sampled_from(["nan", "1.5", "1e2", "", "٣", "0x1", "inf", "1_0"]),
                           some.text(some.characters(codec="utf-8", exclude_characters='0123456789 \n\r,"'), min_size=1, max_size=3))


@often
@given(some.integers(0, 13), WRONG_PIXELS)
def test_csv_with_a_wrong_pixel_is_refused_by_row(tmp_path_factory, row, wrong):
    path = tmp_path_factory.mktemp("table") / "fer2013.csv"
    rows = [[str(code), " ".join(["7"] * 2304), usage] for usage in ("Training", "PublicTest") for code in range(7)]
    rows[row][1] = " ".join([wrong, *["7"] * 2303])
    path.write_bytes(table(rows))
    with pytest.raises(DataError, match=f"fer2013.csv, row {row + 1} "):
        load_faces(path, cache=False)
    with pytest.raises(DataError, match="the class folder"):  # skipped, and with it the emotion
        load_faces(path, cache=False, unreadable="skip")


@often
@given(some.binary(max_size=200), some.sampled_from(["faces.zip", "fer2013.csv", "faces", "x.png"]))
def test_noise_is_refused_by_name(tmp_path_factory, content, name):
    path = tmp_path_factory.mktemp("noise") / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=name):
        load_faces(path, cache=False)
    with pytest.raises(DataError, match=name):
        decode_image(content, name)


@often
@given(some.data())
def test_truncated_and_flipped_pictures_end_in_pixels_or_in_a_refusal(data):
    content = png(np.arange(48 * 48, dtype="uint8").reshape(48, 48))
    content = content[:data.draw(some.integers(0, len(content)))]
    for place_of in data.draw(some.lists(some.integers(0, max(len(content) - 1, 0)), max_size=5)) if content else ():
        content = content[:place_of] + bytes([data.draw(some.integers(0, 255))]) + content[place_of + 1:]
    try:
        assert decode_image(content, "a face").shape == (48, 48)
    except DataError as error:
        assert "a face" in error.problem and error.remedy


# ---- files appear whole or not at all ----------------------------------------------------------------------------------

@often
@given(some.binary(max_size=300), some.integers(0, 300), some.sampled_from([OSError(28, "No space left on device"), ValueError("no"), KeyboardInterrupt()]))
def test_write_whole_never_leaves_a_part(tmp_path_factory, content, until, error):
    folder = tmp_path_factory.mktemp("whole")
    target = folder / "kept.bin"
    target.write_bytes(b"what was there")
    try:
        with write_whole(target) as part:
            part.write_bytes(content[:until])
            if until < len(content):
                raise error
        assert target.read_bytes() == content
    except (WritingError, ValueError, KeyboardInterrupt) as raised:
        assert target.read_bytes() == b"what was there"
        assert not isinstance(error, OSError) or "kept.bin" in str(raised) and "No space left" in str(raised)
    assert os.listdir(folder) == ["kept.bin"]


PLAIN = some.recursive(some.none() | some.booleans() | some.integers(-(10**12), 10**12) | some.floats(allow_nan=False, allow_infinity=False) | some.text(some.characters(codec="utf-8"), max_size=8),
                       lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(some.characters(codec="utf-8"), max_size=5), inner, max_size=3), max_leaves=8)


@often
@given(PLAIN)
def test_json_gives_back_what_was_written(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "a.json"
    assert read_json(write_json(path, content)) == content


@often
@given(some.lists(some.text(min_size=1, max_size=300), min_size=1, max_size=3))
def test_a_file_name_is_one_that_a_disk_takes(tmp_path_factory, words):
    name = file_name(*words, "0123abcd")
    assert name.endswith("0123abcd") and len(name.encode()) <= 150 and not set(name) & set('/\\:*?"<>|\0\n')
    (tmp_path_factory.mktemp("name") / f"{name}_on_12345678").mkdir()


MANIFEST = {"run": "drawn-12345678", "data": "drawn:70,35", "split": "folders", "validation": .2, "emotions": list(EMOTIONS), "unreadable": "refuse", "seed": 0, "files": {}, "data_fingerprint": "0"}


@often
@given(some.sampled_from(sorted(MANIFEST)), PLAIN)
def test_a_manifest_that_says_something_odd_never_leads_outside(tmp_path_factory, name, value):
    from emotion_maps.train import MANIFEST as KINDS
    from emotion_maps.train import Trained, manifest_beside, run_folder, split_faces

    folder = tmp_path_factory.mktemp("model")
    write_json(folder / "model.json", MANIFEST | {name: value})
    try:
        manifest = manifest_beside(folder / "model.keras")
    except (DataError, ModelError) as error:
        assert "model.json" in error.problem and name in KINDS
        return
    faces = Faces(np.zeros((28, 48, 48), "uint8"), np.arange(28) % 7, [f"{'train' if n < 14 else 'test'}/{n}" for n in range(28)], ["train"] * 14 + ["test"] * 14)
    faces.images[:, 0, 0] = range(28)
    assert run_folder(Trained(None, manifest, folder / "model.json"), split_faces(faces), folder / "output").parent == folder / "output"


# ---- a test for every bug that was found --------------------------------------------------------------------------------

@pytest.mark.parametrize("run", ["../../evil", "/tmp/evil", "..", ".", "a/b", "a\\b", "a\nb", "a\0b", "x" * 300, ""])
def test_a_run_is_no_path(tmp_path, run):
    from emotion_maps.train import manifest_beside

    write_json(tmp_path / "model.json", {"run": run})
    with pytest.raises(ModelError, match="no name of a run"):
        manifest_beside(tmp_path / "model.keras")


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b"null", b'{"files": []}', b'{"run": 3}', b'{"emotions": [1, 2]}', b"\xff", b'{"seed": 1.5}'])
def test_a_damaged_manifest_is_refused_by_name(tmp_path, content):
    from emotion_maps.train import manifest_beside

    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises((DataError, ModelError), match="model.json"):
        manifest_beside(tmp_path / "model.keras")


def test_a_manifest_that_lacks_how_the_data_was_split_is_refused(tmp_path):
    from emotion_maps.train import Trained, faces_of

    with pytest.raises(ModelError, match="does not say 'unreadable'"):
        faces_of(Trained(None, {"data": "drawn:14,14", "emotions": list(EMOTIONS)}, tmp_path / "model.keras"))


@pytest.mark.parametrize("seed", [-1, 2**32, "0", 1.5])
def test_a_seed_that_is_none_is_refused(seed):
    faces = Faces(np.zeros((0, 48, 48), "uint8"), [], [], [])
    with pytest.raises(ParameterError, match="seed"):
        split_faces(faces, seed=seed)


def test_the_name_of_a_user_who_does_not_exist():
    with pytest.raises(ParameterError, match="no such user"):
        place("~nobody_knows_this_user/x")


@pytest.mark.parametrize("path", ["x" * 300, "a/" * 3000, "a\0b"])
def test_a_model_path_that_no_disk_takes(path):
    from emotion_maps.train import require_model

    with pytest.raises(EmotionMapsError):
        require_model(path)


def link_up(tree, where):
    try:
        (tree / "train" / "happy" / "loop").symlink_to(where)
    except OSError:
        pytest.skip("no symbolic links here")


@pytest.mark.parametrize("where", ["..", ".", "../..", "loop"])
def test_a_link_that_leads_up_adds_no_faces(tmp_path, where):
    written = faces_of(1)
    for path, image in written.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(png(image))
    link_up(tmp_path, where)
    try:
        same(load_faces(tmp_path, cache=False), written)
    except DataError as error:  # a link to itself cannot be followed
        assert where == "loop" and "loop" in str(error)


def test_a_table_that_unpacks_to_far_more_than_it_is(tmp_path):
    with zipfile.ZipFile(tmp_path / "faces.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("fer2013.csv", "w", force_zip64=True) as file:
        file.write(b"emotion,pixels,Usage\n")
        for _ in range(70):
            file.write(b"\n" * 1_000_000)
    with pytest.raises(DataError, match="faces.zip: fer2013.csv would unpack"):
        load_faces(tmp_path / "faces.zip", cache=False)


@pytest.mark.parametrize("name", ["fer2013.csv", "table"])
def test_lines_that_end_as_on_an_old_macintosh_are_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(table([["0", "1 2", "Training"]], ending="\r"))
    with pytest.raises(DataError, match=name):
        load_faces(tmp_path / name, cache=False)
    with pytest.raises(DataError, match=tmp_path.name):
        load_faces(tmp_path, cache=False)


def test_a_line_of_ten_million_fields(tmp_path):
    (tmp_path / "fer2013.csv").write_bytes(b"emotion,pixels,Usage\n" + b"1," * 10_000_000)
    with pytest.raises(DataError, match="fer2013.csv has a line of more than"):
        load_faces(tmp_path / "fer2013.csv", cache=False)


def test_a_picture_that_claims_900_million_pixels():
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match="big.png"):
        decode_image(content, "big.png")


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_array_files_with_objects_bombs_and_holes_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="objects.npz"):
        read_arrays(npz(tmp_path / "objects.npz", a=np.array([print], dtype=object)))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w", force_zip64=True) as file:
        file.write(bytes(2_000_000))
    with monkeypatch.context() as smaller, pytest.raises(DataError, match="bomb.npz.*MB unpacked"):
        smaller.setattr("emotion_maps.core.MOST_BYTES", 1_000_000)
        read_arrays(tmp_path / "bomb.npz")
    for content in (b"", b"PK", npz(tmp_path / "cut.npz", a=np.ones(999)).read_bytes()[:-300]):
        (tmp_path / "cut.npz").write_bytes(content)
        with pytest.raises(DataError, match="cut.npz"):
            read_arrays(tmp_path / "cut.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("a", "no array")
    with pytest.raises(DataError, match="text.npz"):
        read_arrays(tmp_path / "text.npz")


def test_readers_of_array_files_refuse_arrays_that_do_not_belong_together(tmp_path):
    from emotion_maps.ablation import Outcomes
    from emotion_maps.face_regions import read_landmarks
    from emotion_maps.optimised_images import OptimisedImages

    path = npz(tmp_path / "found.npz", layer=np.array("a"), filters=np.arange(3), images=np.zeros((2, 4, 4)), activations=np.zeros(2), starts=np.zeros((2, 1)))
    with pytest.raises(DataError, match="found.npz"):
        OptimisedImages.load(path)
    path = npz(tmp_path / "found.npz", layers=["a"], filters=["x"], change=np.zeros((1, 1)), right=np.zeros((1, 1)), before=np.zeros((1, 2)), labels=np.zeros(1), emotions=["a"])
    with pytest.raises(DataError, match="found.npz"):
        Outcomes.load(path)
    faces = Faces(np.zeros((1, 48, 48), "uint8"), [0], ["train/angry/a.png"], ["train"])
    with pytest.raises(DataError, match="found.npz"):
        read_landmarks(npz(tmp_path / "found.npz", names=np.arange(1), points=np.zeros((1, 68, 2)), presence=np.ones(1), flip_error=np.zeros(1)), faces)


def test_a_damaged_atlas_is_refused_and_a_bomb_is_not_unpacked(tmp_path):
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    from emotion_maps.filter_atlas import MOST_FILTERS, FilterAtlas

    frame = pd.DataFrame({"layer": ["a", "a"], "filter": [0, 1], "region": ["mouth", None], "enrichment": [2., 1.], "emotion": ["sad", None], "dead": [False, True]})
    about = {"layers": ["a"], "emotions": list(EMOTIONS)}
    path = FilterAtlas(frame, {"mean_map/a": np.ones((2, 2))}, about).save(tmp_path / "atlas.parquet")
    assert FilterAtlas.load(path).about == about
    arrays = next(tmp_path.glob("*.npz"))
    content = arrays.read_bytes()
    arrays.write_bytes(content[:-30])
    with pytest.raises(DataError, match="atlas"):
        FilterAtlas.load(path)
    arrays.write_bytes(content)
    good = parquet.read_table(path)
    many = pa.table({"layer": pa.array(["a"]).dictionary_encode().take(pa.array(np.zeros(MOST_FILTERS + 1, "int8"))), "filter": np.zeros(MOST_FILTERS + 1, "int64")})
    for wrong in (many.replace_schema_metadata(good.schema.metadata), good.drop_columns(["layer"]), good.replace_schema_metadata({b"emotion_maps": b"[]"}), good.replace_schema_metadata(None),
                  good.replace_schema_metadata({b"emotion_maps": json.dumps({**about, "arrays": "../../etc/passwd"}).encode()}),
                  good.replace_schema_metadata({b"emotion_maps": json.dumps({**about, "layers": ["b"], "arrays": arrays.name}).encode()})):
        parquet.write_table(wrong, path)
        with pytest.raises(DataError, match="atlas"):
            FilterAtlas.load(path)


def test_saving_an_atlas_leaves_the_arrays_of_another_that_is_being_saved(tmp_path):
    import pandas as pd

    from emotion_maps.filter_atlas import FilterAtlas

    frame = pd.DataFrame({"layer": ["a"], "filter": [0], "region": ["mouth"], "enrichment": [2.], "emotion": ["sad"], "dead": [False]})
    atlas = lambda number: FilterAtlas(frame, {"mean_map/a": np.full((2, 2), number)}, {"layers": ["a"], "emotions": list(EMOTIONS)})
    path = atlas(1.).save(tmp_path / "atlas.parquet")
    (tmp_path / "atlas-0123456789abcdef.npz").write_bytes(b"just written by another process")
    atlas(2.).save(path)
    assert FilterAtlas.load(path).arrays["mean_map/a"][0, 0] == 2 and (tmp_path / "atlas-0123456789abcdef.npz").exists() and len(list(tmp_path.glob("*.npz"))) == 2


def test_a_damaged_state_of_a_training_says_what_to_delete(tmp_path):
    from emotion_maps.train import saved_history

    for content in (b"", b"PK\x03\x04", npz(tmp_path / "state.npz", facts=np.array("[]")).read_bytes(), npz(tmp_path / "state.npz", facts=np.array('{"history": [1], "memory": []}')).read_bytes()):
        (tmp_path / "state.npz").write_bytes(content)
        with pytest.raises(ModelError, match="state.npz.*elete the folder"):
            saved_history(tmp_path / "state.npz")


def test_a_state_that_is_not_of_this_training_says_what_to_delete(tmp_path):
    import json as text

    from emotion_maps.train import fit, recipe_from

    split, recipe = split_faces(load_faces("drawn:140,70")), recipe_from("quick", epochs=2, filters=(2, 3, 4), dense=(4,))
    fit(split, recipe_from("quick", epochs=1, filters=(2, 3, 4), dense=(4,)), tmp_path)
    whole = dict(np.load(tmp_path / "state.npz"))
    facts = text.loads(str(whole["facts"]))
    lacking = {name: array for name, array in whole.items() if name != "variable0002"}
    for arrays in (lacking, whole | {"variable0000": np.zeros(3, "float32")}, whole | {"facts": np.array(text.dumps(facts | {"history": [{"epoch": 1}]}))},
                   whole | {"facts": np.array(text.dumps(facts | {"memory": [{} for _ in facts["memory"]]}))}):
        np.savez(tmp_path / "state.npz", **arrays)
        with pytest.raises(ModelError, match="state.npz.*elete the folder"):
            fit(split, recipe, tmp_path)
    np.savez(tmp_path / "state.npz", **whole)
    (tmp_path / "best.weights.h5").write_bytes((tmp_path / "best.weights.h5").read_bytes()[:1000])
    with pytest.raises(ModelError, match="best.weights.h5.*elete the folder"):
        fit(split, recipe_from("quick", epochs=1, filters=(2, 3, 4), dense=(4,)), tmp_path)


def test_a_model_file_larger_than_any_network_is_not_read(tmp_path):
    with open(tmp_path / "large.keras", "wb") as file:
        file.truncate(6 << 30)  # takes no room
    (tmp_path / "large.json").write_text('{"files": {"large.keras": "0"}}')
    from emotion_maps.train import load_trained
    with pytest.raises(ModelError, match="large.keras is larger"):
        load_trained(tmp_path / "large.keras")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_under_the_name_of_a_table_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fer2013.csv")
    with pytest.raises(DataError, match="no folder train/"):
        load_faces(tmp_path)


@pytest.mark.parametrize("wrong", [{"names": np.array("x")}, {"emotions": np.array(5)}, {"probabilities": np.full((105, 7), "x")}, {"probabilities": np.zeros((105, 7))},
                                   {"probabilities": -np.ones((105, 7))}, {"probabilities": np.full((105, 7), np.inf)}])
def test_probabilities_that_are_none_are_refused(tmp_path, wrong):
    from emotion_maps.audit import audit
    faces = load_faces("drawn:70,35")
    np.savez(tmp_path / "p.npz", **{"names": faces.names, "emotions": np.array(faces.emotions), "probabilities": np.full((105, 7), 1 / 7)} | wrong)
    with pytest.raises(DataError):
        audit(faces, "doubtful_label", tmp_path / "p.npz")


def test_a_thousand_nearly_identical_images_do_not_make_half_a_million_pairs():
    from emotion_maps.audit import MOST_PARTNERS, candidate_pairs
    images, chance = load_faces("drawn:700,350").images, np.random.default_rng(0)
    copies = np.clip(images[0].astype(int) + chance.integers(-2, 3, (600, 48, 48)), 0, 255).astype("uint8")
    pairs = candidate_pairs(np.concatenate([images, copies]))
    among = pairs[(pairs[:, 0] >= len(images)) & (pairs[:, 2] == 0)]
    assert len(among) <= 600 * MOST_PARTNERS * 9 and {*among[:, 1].tolist()} >= {*range(len(images) + 1, len(images) + 600)}  # each is still tied to one before it


@pytest.mark.parametrize("content", [{"accuracy": 1.}, {"accuracy": .5, "interval": [1], "n": 1, "macro_f1": "x"}, [], {"accuracy": .5, "interval": 3}])
def test_damaged_scores_do_not_stop_the_summary_with_a_traceback(tmp_path, content):
    from emotion_maps.pipeline import scores_in, summary_page

    write_json(tmp_path / "scores.json", content)
    with pytest.raises(DataError, match="scores.json"):
        summary_page(tmp_path, {"run": "a"})
    if "verdict" not in content:
        with pytest.raises(DataError, match="scores.json"):
            scores_in(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a limit on the size of files")
def test_a_full_disk_leaves_the_old_file(tmp_path):
    code = """
import resource, signal, sys
from pathlib import Path
from emotion_maps.core import WritingError, write_json
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try: write_json(Path(sys.argv[1]), list(range(10_000)))
except WritingError as error: print(error)
"""
    write_json(tmp_path / "kept.json", 1)
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "kept.json"], capture_output=True, text=True, check=True)
    assert "kept.json' cannot be written" in done.stdout and "space" in done.stdout
    assert read_json(tmp_path / "kept.json") == 1 and os.listdir(tmp_path) == ["kept.json"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows locks files in another way")
def test_a_second_process_waits_until_the_first_has_finished_or_died(tmp_path):
    code = "import sys, time\nfrom emotion_maps.core import alone\nwith alone(sys.argv[1]):\n    print('in', flush=True)\n    time.sleep(600)"
    first = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "in\n"
    second = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    assert "Another process is at work" in second.stdout.readline()
    first.kill()
    assert second.stdout.readline() == "in\n"
    second.kill()
    first.wait(), second.wait()
    with alone(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts processes by forking")
def test_two_processes_at_once_on_one_cache(tmp_path):
    """Both read the same data set into the same empty cache, over and over; one is killed at times. Both must see the same faces."""
    written = faces_of(3)
    for path, image in written.items():
        (tmp_path / "faces" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "faces" / path).write_bytes(png(image))
    code = """
import shutil, sys
from emotion_maps.data import load_faces
for turn in range(int(sys.argv[3])):
    print(load_faces(sys.argv[1], cache=sys.argv[2]).fingerprint, flush=True)
    for entry in __import__('pathlib').Path(sys.argv[2]).glob('faces-*'):
        if turn % 2: shutil.rmtree(entry, ignore_errors=True)
"""
    command = [sys.executable, "-c", code, tmp_path / "faces", tmp_path / "cache"]
    killed = [subprocess.Popen([*map(str, command), "1000"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [process.stdout.readline() for process in killed for _ in range(2)]
    for process in killed:
        process.kill()
        process.wait()
    both = [subprocess.Popen([*map(str, command), "12"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate()[0].split() for process in both]
    assert [len(answer) for answer in answers] == [12, 12] and all(process.returncode == 0 for process in both)
    assert {*answers[0], *answers[1], *(line.strip() for line in lines)} == {load_faces(tmp_path / "faces", cache=False).fingerprint}
    same(load_faces(tmp_path / "faces", cache=tmp_path / "cache"), written)


def test_a_short_fuzz_run_finds_nothing(root):
    done = subprocess.run([sys.executable, root / ".ci" / "fuzz.py", "--seconds", "8", "--seed", "1", "--no-models"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "inputs of" in done.stdout and "Seed 1" in done.stdout


def test_the_fuzz_run_sees_what_breaks_the_rules(root, tmp_path):
    sys.path.insert(0, str(root / ".ci"))
    try:
        import fuzz
    finally:
        sys.path.remove(str(root / ".ci"))

    def leave(name):
        (tmp_path / name).write_text("")

    for act, named, outcome in ((lambda: 1 / 0, "", "violation"), (lambda: None, "", "result"), (lambda: read_json("no.json"), "no.json", "refusal"),
                                (lambda: read_json("no.json"), "other.json", "violation"), (lambda: leave(".part-1"), "", "violation")):
        assert fuzz.judge(fuzz.Attempt(act, named), tmp_path)[0] == outcome
