"""Hostile inputs, made from a seed so that anyone can repeat them: each must end in a result or in an error of ours, in time, in bounded memory, with nothing half written.

make fuzz SECONDS=120 [SEED=n]; one input again: python .ci/fuzz.py --seed N --kind KIND --number N"""
import argparse
import contextlib
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
TIME_LIMIT = 30        # seconds of work for one input; an ordinary one takes a few hundredths
PATIENCE = 10          # times as long may pass on a machine that is busy with other things
MEMORY_LIMIT = 1200    # MB that reading one input may add; the largest picture that is read (64 million pixels) is what needs most
MODEL_MEMORY = 1500    # MB that opening one model file may add
NOBODY = 65534


class Attempt:
    """What to do with an input (`act`), a word that a refusal must contain (`named`), and what must still hold afterwards (`after`)."""

    def __init__(self, act, named="", after=lambda: None):
        self.act, self.named, self.after = act, named, after


# ---- what hostile files are made of -------------------------------------------------------------------------------

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
WORDS = ("face", "лицо", "顔", "وجه", "चेहरा", "a b", "new\nline", "tab\tname", "ümläut", "u\u0308mla", "🙂", "'\"<script>", "%s{0}", "-rf", "con", "x" * 251, "é" * 125, "\u202egnp")


def picture(luck, form="PNG", size=None, mode=None):
    """The bytes of a small healthy picture."""
    from PIL import Image
    size = size or luck.choice([(1, 1), (48, 48), (48, 48), (49, 31), (200, 3), (1, 300)])
    mode = mode or luck.choice({"PNG": ["L", "RGB", "RGBA", "P", "1", "I;16", "LA"], "JPEG": ["L", "RGB", "CMYK"]}.get(form, ["L", "RGB"]))
    channels = {"L": 1, "P": 1, "1": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}.get(mode, 1)
    values = np.random.default_rng(luck.getrandbits(32)).integers(0, 65536 if mode == "I;16" else 256, (size[1], size[0], channels))
    image = Image.fromarray(values[..., 0].astype("uint16")) if mode == "I;16" else Image.frombytes(mode if mode != "1" else "L", size, values.astype("uint8").tobytes()).convert(mode)
    target = io.BytesIO()
    image.save(target, form)
    return target.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, depth=8, colour=0, rows=None):
    """A PNG of any declared size; its pixels are zero, or as many bytes as `rows` says."""
    line = 1 + -(-width * depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour] // 8)
    packer, packed, left = zlib.compressobj(9), [], line * height if rows is None else rows
    while left > 0:
        packed.append(packer.compress(bytes(min(left, 1 << 20))))
        left -= 1 << 20
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"".join(packed) + packer.flush()) + chunk(b"IEND", b"")


def damaged(luck, content):
    """The bytes cut short, overwritten, repeated, shuffled in parts, or replaced by noise."""
    how, content = luck.randrange(7), bytearray(content)
    if how == 0:
        return bytes(content[:luck.randrange(len(content) + 1)])
    if how == 1:
        return luck.randbytes(luck.choice([0, 1, 16, 3000]))
    if how == 2:
        return bytes(content) + luck.randbytes(luck.randrange(1, 200))
    if how == 3:
        cut = luck.randrange(len(content) + 1)
        return bytes(content[:cut] + luck.randbytes(len(content) - cut))
    for _ in range(luck.choice([1, 1, 3, 30]) if content else 0):
        place = luck.randrange(len(content) if how < 6 else min(64, len(content)))
        content[place] = luck.choice([0, 255, 127, 128, luck.randrange(256)])
    return bytes(content)


def odd_json(luck, value):
    """A JSON value with some part replaced by something that does not belong there."""
    strangers = [None, True, -1, 1e308, float("nan"), "", "../../../tmp/out", "/etc/passwd", [], {}, [[]], "x" * 5000, 10**400, ["a", 1], {"a": {"b": 1}}, "\ud800", "\x00"]
    if isinstance(value, dict) and value and luck.random() < .9:
        key, copy = luck.choice(sorted(value)), dict(value)
        if luck.random() < .25:
            del copy[key]
        else:
            copy[key] = odd_json(luck, value[key])
        return copy
    if isinstance(value, list) and value and luck.random() < .6:
        copy = list(value)
        copy[luck.randrange(len(copy))] = odd_json(luck, luck.choice(value))
        return copy
    return luck.choice(strangers)


def json_bytes(luck, value):
    """A JSON file that is odd in what it says, or in its bytes."""
    how = luck.randrange(8)
    if how == 0:
        return luck.choice([b"[" * 200_000, b'{"a":' * 100_000, b"1" * 6000, b"\xff\xfe{}", b"", b"null", b"[]", b"3", b'"x"', b"NaN"])
    text = json.dumps(odd_json(luck, value) if how > 1 else value).encode()
    return damaged(luck, text) if how < 3 else text


# ---- pictures ------------------------------------------------------------------------------------------------------

def photo_or_face(luck, folder, content, ending):
    from emotion_maps.data import decode_image
    from emotion_maps.photo import read_photo
    path = folder / f"hostile{ending}"
    path.write_bytes(content)
    if luck.random() < .5:
        return Attempt(lambda: decode_image(path.read_bytes(), str(path)), path.name)
    return Attempt(lambda: read_photo(path), path.name)


def jpeg(luck, folder):
    content = picture(luck, "JPEG")
    if luck.random() < .2:  # a size that its pixels cannot have
        place = content.find(b"\xff\xc0") + 5
        content = content[:place] + struct.pack(">HH", luck.choice([0, 1, 30_000, 65_535]), luck.choice([0, 1, 30_000, 65_535])) + content[place + 4:]
    if luck.random() < .1:  # a last scan that comes again and again, and goes over all pixels each time
        from PIL import Image
        target = io.BytesIO()
        Image.new("L", luck.choice([(48, 48), (2000, 2000)]), 90).save(target, "JPEG", progressive=True)
        content = target.getvalue()
        last = content.rfind(b"\xff\xda")
        return photo_or_face(luck, folder, content[:-2] + content[last:last + 10] * luck.choice([5, 90, 20_000]) + content[-2:], ".jpg")
    return photo_or_face(luck, folder, content if luck.random() < .1 else damaged(luck, content), luck.choice([".jpg", ".jpeg", ".png"]))


def png_file(luck, folder):
    how = luck.randrange(8)
    if how == 0:
        content = png(*luck.choice([(1, 1), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (0, 5), (8000, 8000)]), rows=luck.choice([0, 10, 10**6]))
    elif how == 1:
        content = chunk(luck.choice([b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"tRNS"]), b"a\0\0" + zlib.compress(bytes(luck.choice([10, 5 << 20]))))
        content = picture(luck)[:33] + content + picture(luck)[33:]
    else:
        content = picture(luck) if how == 2 else damaged(luck, picture(luck))
    return photo_or_face(luck, folder, content, ".png")


def huge_picture(luck, folder):
    """Whole pictures with very many pixels: 30,000 × 30,000 of one bit, 7,900 × 7,900 with transparency."""
    form = luck.choice([(30_000, 30_000, 1, 0), (7900, 7900, 8, 6), (7900, 7900, 16, 0), (7900, 7900, 8, 2), (64_000_000, 1, 1, 0), (1, 1_000_000, 8, 0), (11_000, 10_000, 8, 6)])
    return photo_or_face(luck, folder, png(*form), ".png")


def tiff(side, compression=8):
    """A TIFF of 48 × 48 pixels in one tile of any size."""
    content = zlib.compress(bytes(side * side)) if side < 5000 else zlib.compress(b"")
    tags = [(256, 48), (257, 48), (258, 8), (259, compression), (262, 1), (277, 1), (322, side), (323, side), (324, 10 + 12 * 10 + 4), (325, len(content))]
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4) + content


def other_picture(luck, folder):
    if luck.random() < .15:
        content = tiff(luck.choice([48, 64, 1008, 20_000, 60_000, 2**31]), luck.choice([8, 8, 7, 1]))
        return photo_or_face(luck, folder, content if luck.random() < .7 else damaged(luck, content), ".tif")
    form = luck.choice(["BMP", "GIF", "TIFF", "WEBP", "PPM"])
    return photo_or_face(luck, folder, damaged(luck, picture(luck, form)), f".{form.lower()}")


# ---- data sets -----------------------------------------------------------------------------------------------------

def load(luck, path, named=None):
    """Read a data set, with or without a cache, refusing or skipping what is unreadable."""
    from emotion_maps.data import load_faces
    cache, unreadable = path.parent / "cache" if luck.random() < .3 else False, luck.choice(["refuse", "skip"])
    emotions = luck.choice([None, None, None, ["happy", "sad"]])

    def act():
        faces = load_faces(path, emotions, unreadable, cache)
        assert faces.images.shape == (len(faces), 48, 48) and len(faces), "a result without faces"
        assert set(np.char.partition(faces.names, "/")[:, 0].tolist()) == {"train", "test"}
    return Attempt(act, path.name if named is None else named)


def healthy_tree(luck):
    """(path, content) of a small healthy data set."""
    return [(f"{part}/{emotion}/{number}.png", picture(luck, size=(48, 48), mode="L")) for part in ("train", "test") for emotion in EMOTIONS for number in range(luck.choice([1, 1, 2]))]


def folder_tree(luck, folder):
    root = folder / "faces"
    for path, content in healthy_tree(luck):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    for _ in range(luck.randrange(1, 4)):
        word, where = luck.choice(WORDS), root / "train" / luck.choice(EMOTIONS)
        how = luck.randrange(11)
        with contextlib.suppress(OSError):  # this system may not know such a name
            if how == 0:
                (where / f"{word[:251 - 8]}.png").write_bytes(picture(luck))
            elif how == 1:
                (where / f"{word[:40]}.png").write_bytes(damaged(luck, picture(luck)))
            elif how == 2:
                (where / "loop").symlink_to(luck.choice([".", "..", "loop", root, "../..", "/"]))
            elif how == 3:
                (where / "gone.png").symlink_to("/no/such/file.png")
            elif how == 4:
                shutil.rmtree(where)
                where.write_bytes(b"a file where a folder should be")
            elif how == 5:
                os.mkfifo(where / "pipe.png")
            elif how == 6:
                os.link(where / "0.png", where / "0.PNG")
            elif how == 7:
                (root / "train" / word[:200]).mkdir()
                (root / "train" / word[:200] / "a.png").write_bytes(picture(luck))
            elif how == 8:
                (Path(os.fsdecode(os.fsencode(where) + b"/\xff\xfe.png"))).write_bytes(picture(luck))
            elif how == 9:
                shutil.rmtree(root / luck.choice(["train", "test"]))
            else:
                deep = where.joinpath(*["d"] * luck.choice([3, 50]))
                deep.mkdir(parents=True)
                (deep / "a.png").write_bytes(picture(luck))
    if luck.random() < .1:  # no folders of faces at all, and a pipe under the name of a table
        shutil.rmtree(root)
        root.mkdir()
        os.mkfifo(root / luck.choice(["fer2013.csv", "a.csv"]))
    return load(luck, root)


def no_permission(luck, folder):
    """Folders and files that may not be read or written, tried as nobody."""
    from emotion_maps.core import write_json
    root = folder / "faces"
    for path, content in healthy_tree(luck):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    where = luck.choice([root, root / "train", root / "train" / "happy", root / "train" / "happy" / "0.png"])
    where.chmod(luck.choice([0, 0o100]) if where.is_dir() else 0)
    attempt = load(luck, root)
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    inner = luck.choice([attempt.act, lambda: write_json(closed / "faces" / "a.json", 1), lambda: write_json(closed / "faces.json", 1)])

    def act():
        if os.getuid() == 0:
            os.seteuid(NOBODY)
        try:
            inner()
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
    return Attempt(act, "faces")


def write_zip(luck, path, members):
    """A ZIP of (name, content) with odd names, links, bombs, duplicates and encrypted members."""
    declared = []
    with zipfile.ZipFile(path, "w", luck.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
        for _ in range(luck.randrange(1, 4)):
            how = luck.randrange(9)
            where = f"train/{luck.choice(EMOTIONS)}"
            if how == 0:
                archive.writestr(luck.choice(["/etc/train/happy/a.png", "../../train/happy/b.png", "train/happy/../../../c.png", "C:\\train\\happy\\d.png", "train/happy/./e.png", "//train/happy/f.png"]), picture(luck))
            elif how == 1:
                info = zipfile.ZipInfo(f"{where}/link.png")
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, "/etc/passwd")
            elif how == 2:
                archive.writestr(f"{where}/bomb.png", bytes(80 << 20), zipfile.ZIP_DEFLATED)
            elif how == 3:
                archive.writestr(f"{where}/large.png", png(7900, 7900, 8, 6))
            elif how == 4:
                archive.writestr(members[0][0], picture(luck))
            elif how == 5:
                archive.writestr(f"{where}/{luck.choice(WORDS)}.png", picture(luck))
            elif how == 6:
                archive.writestr(f"{where}/bad.png", damaged(luck, picture(luck)))
            elif how == 7:
                archive.writestr(f"{luck.choice(['train', 'other/train', 'Train'])}/{luck.choice(WORDS)[:50]}/a.png", picture(luck))
            else:
                archive.writestr(f"{where}/declared.png", picture(luck))
                declared.append(f"{where}/declared.png".encode())
    return declared


def lie(luck, path, names):
    """Rewrite a member's flags, method or sizes in the archive's directory, so that they are no longer true."""
    content = bytearray(path.read_bytes())
    for name in names:
        entry = content.rfind(b"PK\x01\x02", 0, content.rfind(name))
        place, value = luck.choice([(8, struct.pack("<H", 1)), (10, struct.pack("<H", luck.choice([9, 99, 12]))), (24, struct.pack("<I", luck.choice([0, 1, 2**32 - 2]))),
                                    (20, struct.pack("<I", luck.choice([0, 2**32 - 2]))), (42, struct.pack("<I", luck.choice([0, 2**31]))), (16, b"\0\0\0\0")])
        content[entry + place:entry + place + len(value)] = value
    path.write_bytes(content)


def zip_file(luck, folder):
    path = folder / luck.choice(["faces.zip", "顔.zip", "faces.dat"])
    if luck.random() < .15:
        csv_bytes(luck, folder / "fer2013.csv")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(folder / "fer2013.csv", luck.choice(["fer2013.csv", "a/b/fer2013.csv"]))
    else:
        lie(luck, path, write_zip(luck, path, healthy_tree(luck)))
    if luck.random() < .35:
        path.write_bytes(damaged(luck, path.read_bytes()))
    return load(luck, path)


def table_bomb(luck, folder):
    """A ZIP of a table that is far larger than the archive."""
    path, row = folder / "faces.zip", luck.choice([b"\n", b"0," + b"0 " * 2304 + b",Training\n", b'"', b"0,1,Training\n"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("fer2013.csv", "w", force_zip64=True) as file:
        file.write(b"emotion,pixels,Usage\n")
        block = row * (4_000_000 // len(row))
        for _ in range(30):  # 120 MB
            file.write(block)
    return load(luck, path)


def csv_bytes(luck, path):
    """Write a table like fer2013.csv with something wrong in it, or with nothing wrong."""
    faces = [(luck.randrange(7), bytes(luck.randrange(256) for _ in range(12)) * 192, luck.choice(["Training", "PublicTest", "PrivateTest"])) for _ in range(4)]
    faces += [(code, bytes([luck.randrange(256)]) * 2304, usage) for code in range(7) for usage in ("Training", "PublicTest")]
    rows = [[str(code), " ".join(map(str, pixels)), usage] for code, pixels, usage in faces]
    header = ["emotion", "pixels", "Usage"]
    for _ in range(luck.randrange(3)):
        row, how = luck.choice(rows), luck.randrange(8)
        if how == 0:
            row[1] = luck.choice(["", "nan " * 2304, "-1 " * 2304, "256 " * 2304, "1e3 " * 2304, "99999999999999999999 " * 2304, row[1] + " 1", row[1][:-9], "٣ " * 2304, "1\x00 " * 2304, '"'])
        elif how == 1:
            row[0] = luck.choice(["7", "-1", "nan", "", "0.0", "1" * 5000, "²", "happy", " 1 "])
        elif how == 2:
            row[2] = luck.choice(["", "training", "Test", "PrivateTest ", "\x00"])
        elif how == 3:
            del row[luck.randrange(len(row)):]
        elif how == 4:
            row += ["more"] * luck.choice([1, 1000])
        elif how == 5:
            header = luck.choice([["Usage", "emotion"], ["emotion", " pixels", "usage"], ["emotion", "emotion", "pixels", "Usage"], [], ["a"] * 1000])
        elif how == 6:
            rows.insert(luck.randrange(len(rows)), luck.choice([[], [""], ["a" * 2_000_000], ["1,2"], ['"' + "x" * 200_000]]))
        else:
            row[1] = f'"{row[1]}"'
    ending, start = luck.choice(["\n", "\r\n", "\r"]), luck.choice([b"", b"\xef\xbb\xbf", b"\xff\xfe"] if luck.random() < .3 else [b""])
    text = ending.join(",".join(fields) for fields in [header, *rows]).encode()
    path.write_bytes(start + (damaged(luck, text) if luck.random() < .3 else text))


def csv_file(luck, folder):
    path = folder / luck.choice(["fer2013.csv", "icml_face_data.csv", "Ω.CSV", "table"])
    csv_bytes(luck, path)
    return load(luck, path)


def endless_line(luck, folder):
    """A line of ten million fields, in quotes or not."""
    path, start = folder / "fer2013.csv", luck.choice([b"", b"emotion,pixels,Usage\n", b'emotion,pixels,Usage\n"'])
    path.write_bytes(start + luck.choice([b"1,", b"1 ", b",", b'"",', b'"\n']) * 10_000_000)
    return load(luck, path)


def cache_entry(luck, folder):
    """A damaged cache must never be believed, nor stop the reading."""
    from emotion_maps.data import load_faces
    path, cache = folder / "fer2013.csv", folder / "cache"
    rows = [f"{code},{' '.join(['7'] * 2304)},{usage}" for code in range(7) for usage in ("Training", "PublicTest")]
    path.write_text("emotion,pixels,Usage\n" + "\n".join(rows))
    true = load_faces(path, cache=cache).fingerprint
    entry = next(cache.glob("faces-*"))
    victim = luck.choice(sorted(entry.iterdir()))
    how = luck.randrange(4)
    if how == 0:
        victim.write_bytes(damaged(luck, victim.read_bytes()))
    elif how == 1:
        victim.unlink()
    elif how == 2:
        head = "{'descr': '<U7', 'fortran_order': False, 'shape': (%d,), }" % luck.choice([10**6, 10**10, 10**15])
        (entry / luck.choice(["names.npy", "labels.npy", "images.npy"])).write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + bytes(100))
    else:
        (entry / "note.json").write_bytes(json_bytes(luck, {"emotions": ["a", "b"], "skipped": 0, "fingerprint": true, "names": ""}))

    def act():
        assert load_faces(path, cache=cache).fingerprint == true, "a damaged cache was believed"
    return Attempt(act, path.name)


def odd_name(luck, folder):
    """Paths in any script, too long, with newlines and null characters, given wherever a path is asked for."""
    from emotion_maps.core import file_name, find_path, place, write_json
    from emotion_maps.data import load_faces
    from emotion_maps.photo import read_photo
    from emotion_maps.train import require_model
    word = luck.choice([*WORDS, "x" * 255, "面" * 300, "a/" * 3000, "\x00", "a\x00b", "~nobody_knows/x", "..", ".", "", " ", "\udcff\udcfe", luck.randbytes(20).decode("latin-1")])
    uses = [lambda: load_faces(word, cache=False), lambda: find_path(word), lambda: require_model(word), lambda: read_photo(word), lambda: place(word),
            lambda: write_json(folder / word / "a.json", 1), lambda: write_json(folder / f"{word}.json", 1), lambda: (folder / file_name(word, "1" * 8)).mkdir() if file_name(word) else None,
            lambda: load_faces("drawn:14,14", cache=folder / word)]
    return Attempt(luck.choice(uses), "")


# ---- files between the steps ---------------------------------------------------------------------------------------

def small_atlas():
    import pandas as pd
    from emotion_maps.filter_atlas import FilterAtlas
    table = pd.DataFrame({"layer": ["a", "a"], "filter": [0, 1], "region": ["mouth", None], "enrichment": [2., np.nan], "emotion": ["sad", None], "dead": [False, True]})
    return FilterAtlas(table, {"mean_map/a": np.ones((2, 4, 4), "float32"), "images": np.zeros((3, 48, 48), "uint8")}, {"layers": ["a"], "emotions": list(EMOTIONS), "model": "0"})


def npz_bytes(luck, arrays):
    """An array file that is odd: damaged, of objects, of an absurd declared shape, a bomb."""
    target, how = io.BytesIO(), luck.randrange(7)
    if how == 0:
        arrays = arrays | {luck.choice(sorted(arrays)): np.array([{"a": 1}, print], dtype=object)}
    if how == 1:
        arrays = arrays | {luck.choice(sorted(arrays)): luck.choice([np.zeros(0), np.zeros((1, 1, 1)), np.array("x"), np.array([1, 2]), np.float64("nan"), np.array(["x" * 100])])}
    if how == 2:
        arrays = {name: array for name, array in arrays.items() if luck.random() < .5}
    np.savez_compressed(target, **arrays)
    if how in (3, 4):
        target = io.BytesIO()
        head = "{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }" % luck.choice([10**9, 10**12, 10**18] if how == 3 else [300_000_000])
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(f"{luck.choice(sorted(arrays))}.npy", "w", force_zip64=True) as file:
            file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode())
            for _ in range(1 if how == 3 else 2400):
                file.write(bytes(1_000_000))
        return target.getvalue()
    return damaged(luck, target.getvalue()) if how > 4 else target.getvalue()


def atlas_file(luck, folder):
    import pyarrow as pa
    from pyarrow import parquet
    from emotion_maps.filter_atlas import FilterAtlas
    atlas = small_atlas()
    path = atlas.save(folder / "atlas.parquet")
    arrays = next(folder.glob("*.npz"))
    how = luck.randrange(7)
    if how == 0:
        path.write_bytes(damaged(luck, path.read_bytes()))
    elif how == 6:  # a word of many letters, written once, in each of many rows
        words = pa.DictionaryArray.from_arrays(np.zeros(100_000, "int8"), ["x" * 100_000])
        rows = pa.table({"layer": ["a"] * 100_000, "filter": np.arange(100_000), "region": words, "enrichment": np.ones(100_000), "emotion": words, "dead": np.zeros(100_000, bool)})
        parquet.write_table(rows.replace_schema_metadata({b"emotion_maps": json.dumps({"layers": ["a"], "emotions": [], "arrays": arrays.name}).encode()}), path, store_schema=False)
    elif how == 1:
        arrays.write_bytes(npz_bytes(luck, {"mean_map|a": np.ones((2, 4, 4)), "images": np.zeros((3, 48, 48), "uint8")}))
    elif how == 2:
        arrays.unlink()
    elif how == 3:  # a few bytes that stand for millions of rows
        rows = pa.table({"layer": pa.DictionaryArray.from_arrays(pa.array(np.zeros(3_000_000, "int8")), ["a"]), "filter": pa.array(np.zeros(3_000_000, "int64"))})
        parquet.write_table(rows.replace_schema_metadata({b"emotion_maps": b'{"layers": ["a"], "emotions": [], "arrays": "x.npz"}'}), path)
    else:
        about = json_bytes(luck, {**atlas.about, "arrays": luck.choice([arrays.name, "../../../etc/passwd", "", ".."])})
        table = parquet.read_table(path)
        if luck.random() < .3:
            table = table.drop_columns([luck.choice(["layer", "filter"])])
        parquet.write_table(table.replace_schema_metadata({b"emotion_maps": about}), path)

    def act():
        found = FilterAtlas.load(path)
        assert found.table["layer"].tolist() == ["a", "a"] and set(found.about["layers"]) == {"a"}, "what is no atlas was taken for one"
    return Attempt(act, "atlas")


def array_file(luck, folder):
    """The array files of optimised images, ablation, landmarks, and of a training that goes on."""
    from emotion_maps.ablation import Knockout, Outcomes, read_effects
    from emotion_maps.data import Faces
    from emotion_maps.face_regions import read_landmarks
    from emotion_maps.optimised_images import OptimisedImages
    from emotion_maps.train import saved_history
    path, which = folder / "found.npz", luck.randrange(5)
    if which == 0:
        OptimisedImages("a", np.arange(2), np.zeros((2, 4, 4), "uint8"), np.zeros(2, "float32"), np.zeros((2, 1), "float32")).save(path)
        read = lambda: OptimisedImages.load(path)
    elif which == 1:
        Outcomes([Knockout("a", (0,))], np.zeros((3, 1), "float32"), np.zeros((3, 1), "int8"), np.zeros((3, 2), "float32"), np.zeros(3, int), EMOTIONS).save(path)
        read = lambda: Outcomes.load(path)
    elif which == 2:
        faces = Faces(np.zeros((2, 48, 48), "uint8"), np.array([0, 1]), ["train/angry/a.png", "test/fear/b.png"], ["train", "test"])
        np.savez(path, names=np.array(["a.png", "b.png"]), points=np.zeros((2, 68, 2)), presence=np.ones(2), flip_error=np.zeros(2))
        read = lambda: read_landmarks(path, faces)
    elif which == 3:
        np.savez(path, facts=np.array(json.dumps({"history": [], "memory": []})), variable0000=np.zeros(3))
        read = lambda: saved_history(path)
    else:
        path.write_bytes(damaged(luck, b"PAR1" + luck.randbytes(100) + b"PAR1"))
        return Attempt(lambda: read_effects(path), path.name)
    with np.load(path) as file:
        path.write_bytes(npz_bytes(luck, {name: file[name] for name in file.files}))
    return Attempt(read, path.name)


MANIFEST = {"run": "drawn-12345678", "fingerprint": "12345678", "data": "drawn:14,14", "data_fingerprint": "0", "split": "folders", "validation": .5, "note": "", "emotions": list(EMOTIONS),
            "unreadable": "refuse", "seed": 0, "preset": "quick", "calibration": {"share": .05, "faces": 0, "temperature": 1.}, "parameters": {"epochs": 2}, "precision": "float32", "backend": "tensorflow",
            "versions": {"keras": "3"}, "accelerators": [], "faces": {"train": 1, "validation": 1, "test": 1}, "duration_seconds": 1., "peak_memory_mb": 1, "files": {"model.keras": "0"},
            "scores": {"validation_accuracy": .5, "validation_loss": 1., "best_epoch": 1, "epochs": 2}, "history": [{"epoch": 1, "size": 48, "loss": 1., "val_accuracy": .5, "accuracy": .5, "learning_rate": .1}]}


def manifest_file(luck, folder):
    """A model's manifest, used as the steps use it: the folder of its run stays inside the output folder."""
    from emotion_maps.pipeline import summary_page
    from emotion_maps.recipes import describe_model
    from emotion_maps.train import faces_of, run_folder
    (folder / "model.keras").write_bytes(b"a model")
    (folder / "model.json").write_bytes(json_bytes(luck, MANIFEST))
    output = folder / "output"

    def act():
        described = describe_model(folder / "model.keras")
        if described.manifest.get("data", "drawn:14,14") != "drawn:14,14":
            return
        place = run_folder(described, faces_of(described), output)
        assert place.parent == output, f"a run's folder outside the output: {place}"
        summary_page(place, described.manifest)
    return Attempt(act, "model")


SCORES = {"run": "drawn-12345678", "accuracy": .5, "interval": [.4, .6], "n": 70, "macro_f1": .5, "required_accuracy": .6, "verdict": "not met", "note": "", "data": "drawn"}


def scores_file(luck, folder):
    from emotion_maps.pipeline import scores_in, summary_page
    (folder / "scores.json").write_bytes(json_bytes(luck, SCORES))
    return Attempt(luck.choice([lambda: scores_in(folder)["accuracy"], lambda: summary_page(folder, MANIFEST)]), "scores.json")


def full_disk(luck, folder):
    """A disk that is full after some bytes: each file is the old one or the whole new one, and nothing half written is left."""
    from emotion_maps.core import save_figure, write_json
    from emotion_maps.data import load_faces
    from matplotlib.figure import Figure
    which = luck.randrange(4)
    target = folder / ("kept.json", "kept.png", "kept.parquet", "cache")[which]
    figure = Figure()
    figure.subplots().plot(np.random.default_rng(0).random(300))
    write = (lambda path: write_json(path, list(range(20_000))), lambda path: save_figure(figure, path), lambda path: small_atlas().save(path), lambda path: load_faces("drawn:14,14", cache=path))[which]
    faces = load_faces("drawn:14,14", cache=False).fingerprint
    with tempfile.TemporaryDirectory() as elsewhere:
        write(Path(elsewhere) / target.name)
        wanted = {path.name: path.read_bytes() for path in Path(elsewhere).rglob("*") if path.is_file()}
    if which < 3:
        target.write_bytes(b"what was there before")

    def act():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (luck.choice([0, 1, 100, 1000, 5000, 20_000, 10**9]), resource.RLIM_INFINITY))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                write(target)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def after():
        if which == 3:
            assert load_faces("drawn:14,14", cache=target).fingerprint == faces, "what was cached is not what was drawn"
            return
        for path in folder.iterdir():
            assert path.read_bytes() in (b"what was there before", wanted.get(path.name)), f"{path.name} is half written"
    return Attempt(act, target.name.partition(".")[0], after)


def audit_file(luck, folder):
    """The table of an audit, and a file of probabilities to check labels with."""
    import pyarrow as pa
    from pyarrow import parquet
    from emotion_maps.audit import audit, read_audit, read_probabilities, save_audit
    from emotion_maps.data import load_faces
    faces = load_faces("drawn:14,14", cache=False)
    if luck.random() < .5:
        path = folder / "audit.parquet"
        save_audit(audit(faces, ["repeat", "blank"]), path)
        if luck.random() < .6:
            path.write_bytes(damaged(luck, path.read_bytes()))
        elif luck.random() < .5:  # words that are written once and stand in every row; rows that take no room
            column = luck.choice([lambda: pa.DictionaryArray.from_arrays(np.zeros(10**6, "int8"), ["x" * luck.choice([10, 10_000])]), lambda: pa.array(np.zeros(10**8, bool))])()
            parquet.write_table(pa.table({"name": column}), path, store_schema=False)
        else:
            table = parquet.read_table(path)
            parquet.write_table(table.replace_schema_metadata({b"PANDAS_ATTRS": json_bytes(luck, {"audit": {"fingerprint": "a", "images": 1, "parts": {}, "reasons": []}})}), path)
        return Attempt(lambda: read_audit(path), path.name)
    path = folder / "probabilities.npz"
    path.write_bytes(npz_bytes(luck, {"names": faces.names, "emotions": np.array(faces.emotions), "probabilities": np.full((len(faces), 7), 1 / 7, "float32")}))
    return Attempt(lambda: read_probabilities(path, faces), path.name)


DATA_KINDS = {"jpeg": jpeg, "png": png_file, "huge picture": huge_picture, "other picture": other_picture, "folder": folder_tree, "no permission": no_permission, "zip": zip_file,
              "zip bomb of a table": table_bomb, "csv": csv_file, "ten million fields": endless_line, "cache": cache_entry, "odd name": odd_name, "atlas": atlas_file,
              "array file": array_file, "manifest": manifest_file, "scores": scores_file, "audit": audit_file, "full disk": full_disk}
SLOW = {"huge picture": .03, "zip bomb of a table": .01, "ten million fields": .02, "zip": .5, "no permission": .4, "audit": .4}  # how often they have their turn; the others, each time


# ---- model files ---------------------------------------------------------------------------------------------------

def healthy_model(folder):
    """A small network's .keras and .h5 files."""
    from emotion_maps.train import import_keras, save_model, three_blocks
    import_keras().utils.set_random_seed(0)
    model = three_blocks((2, 3), dense=(4,))
    return {ending: save_model(model, folder / f"model{ending}").read_bytes() for ending in (".keras", ".h5")}


LAMBDA = {"class_name": "Lambda", "config": {"name": "evil", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAA", "defaults": None, "closure": None}}, "arguments": {}},
          "module": "keras.layers", "registered_name": None, "name": "evil", "inbound_nodes": []}


def odd_network(luck, config):
    """A network's description with something in it that should not be there."""
    how, layers = luck.randrange(7), config["config"]["layers"]
    layer = luck.choice(layers)
    if how == 6:  # a chain of very many layers
        first = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 48, 48, 1], "name": "images"}, "registered_name": None}
        many = [{"module": "keras.layers", "class_name": "Dropout", "config": {"rate": .1, "name": f"d{number}"}, "registered_name": None} for number in range(luck.choice([20, 250, 5000]))]
        return {"module": "keras", "class_name": "Sequential", "config": {"name": "chain", "layers": [first, *many]}, "registered_name": None}
    if how == 0:
        layer |= {"class_name": luck.choice(["Lambda", "TFSMLayer", "TorchModuleWrapper", "StringLookup", "Evil", "os.system", "", None, 3, "function"])}
    elif how == 1:
        layer |= {"module": luck.choice(["os", "subprocess", "builtins", "keras.src.utils", "emotion_maps.core", "__main__", None, 5]), "registered_name": luck.choice([None, "Evil>Layer"])}
    elif how == 2:
        for kind in layers:
            for name in ("units", "filters"):
                if name in kind["config"]:
                    kind["config"][name] = luck.choice([10**5, 10**6, 10**9, 10**15, -1, 0])
    elif how == 3:
        layers.insert(luck.randrange(len(layers)), LAMBDA)
    elif how == 4:
        kernel = next(kind for kind in layers if "kernel_initializer" in kind["config"])
        kernel["config"]["kernel_initializer"] = luck.choice([LAMBDA, {"module": "os", "class_name": "system", "config": "true", "registered_name": None}, "eval", 5])
    else:
        return odd_json(luck, config)
    return config


def keras_file(luck, folder, healthy):
    path = folder / "stranger.keras"
    with zipfile.ZipFile(io.BytesIO(healthy[".keras"])) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    how = luck.randrange(7)
    if how == 0:
        path.write_bytes(damaged(luck, healthy[".keras"]))
        return path
    if how == 1:
        members["model.weights.h5"] = damaged(luck, members["model.weights.h5"])
    elif how == 2:
        members[luck.choice([*members, "assets/../../evil", "/evil"])] = bytes(luck.choice([10, 300 << 20]))
    elif how == 3:
        members["config.json"] = luck.choice([b"[" * 100_000, b"{}", b"null", b"", b'{"class_name": 1}', b"\xff"])
    else:
        members["config.json"] = json.dumps(odd_network(luck, json.loads(members["config.json"]))).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def h5_file(luck, folder, healthy):
    import h5py
    path, how = folder / "stranger.h5", luck.randrange(8)
    path.write_bytes(healthy[".h5"] if how > 1 else damaged(luck, healthy[".h5"]))
    if how > 1:
        with h5py.File(path, "r+") as file:
            if how == 2:
                del file.attrs["model_config"]
            elif how == 3:
                name = luck.choice([name for name in list_datasets(file)])
                del file[name]
                file[name] = luck.choice([h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink("/"), np.zeros(3), np.zeros((1,), "S10")])
            elif how == 4:
                name = luck.choice([name for name in list_datasets(file)])
                del file[name]
                file.create_dataset(name, (100_000, 100_000), "f4", chunks=(1000, 1000), compression="gzip")
            elif how == 6:  # weights that were never written
                name = luck.choice([name for name in list_datasets(file)])
                shape = file[name].shape
                del file[name]
                file.create_dataset(name, luck.choice([shape, (20_000, 20_000)]), "f4", chunks=True)
            elif how == 7:  # groups with two names a level
                group = file.create_group("deep")
                for _ in range(luck.choice([3, 40])):
                    below = group.create_group("a")
                    group["b"], group = below, below
            else:
                file.attrs["model_config"] = json.dumps(odd_network(luck, json.loads(file.attrs["model_config"])))
    return path


def list_datasets(file):
    import h5py
    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def full_disk_model(luck, folder, healthy):
    """Saving a network on a full disk leaves the old file, and nothing half written."""
    from emotion_maps.train import load_trained, save_model
    path = folder / f"kept{luck.choice(['.keras', '.h5'])}"
    path.write_bytes(healthy[path.suffix])
    model = load_trained(path).model

    def act():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (luck.choice([0, 100, 3000, 20_000]), resource.RLIM_INFINITY))
        try:
            save_model(model, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def after():
        assert path.read_bytes() == healthy[path.suffix], "the old model is no longer whole"
    return Attempt(act, "kept", after)


def open_it(path):
    from emotion_maps.train import load_trained
    return Attempt(lambda: load_trained(path), path.name)


MODEL_KINDS = {"keras file": lambda *given: open_it(keras_file(*given)), "h5 file": lambda *given: open_it(h5_file(*given)), "model on a full disk": full_disk_model}


# ---- trying them -----------------------------------------------------------------------------------------------------

def luck_of(seed, kind, number):
    return random.Random(f"{seed}/{kind}/{number}")


def judge(attempt, folder):
    """('result' or 'refusal' or 'violation', what happened)."""
    from emotion_maps.core import EmotionMapsError
    try:
        attempt.act()
        outcome = "result", ""
    except EmotionMapsError as error:
        text = str(error)
        good = attempt.named in text and error.problem and error.remedy and len(text) < 20_000
        outcome = ("refusal", text) if good else ("violation", f"the message names neither {attempt.named!r} nor a remedy: {text[:300]}")
    except BaseException:
        outcome = "violation", traceback.format_exc()[-1500:]
    try:
        attempt.after()
        left = [path.name for path in folder.rglob(".part-*")]
        assert not left, f"half written: {left}"
    except AssertionError as error:
        return "violation", str(error)
    return outcome


def forget_peak():
    """Let `peak_memory` begin anew."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def tried(make, memory_limit, folder, *given):
    """Make an input, try it, measure it: (outcome, what happened, seconds, MB)."""
    try:
        attempt = make(*given)
    except Exception:
        return ["violation", "the input could not be made: " + traceback.format_exc()[-1500:], 0, 0]
    from emotion_maps.core import peak_memory
    forget_peak()
    before, started = peak_memory(), time.process_time()
    outcome, text = judge(attempt, folder)
    seconds, memory = time.process_time() - started, peak_memory() - before
    if outcome != "violation" and memory > memory_limit:
        outcome, text = "violation", f"it took {memory} MB"
    return [outcome, text, seconds, memory]


def in_a_child(kind, seed, number):
    """Try one input in a process of its own, so that a crash or a hang is seen: (outcome, what happened, seconds, MB)."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT + 5))
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            found = tried(DATA_KINDS[kind], MEMORY_LIMIT, folder, luck_of(seed, kind, number), folder)
            os.write(write, json.dumps(found).encode()[:60_000])
        finally:
            os._exit(0)
    os.close(write)
    ready, _, _ = select.select([read], [], [], TIME_LIMIT * PATIENCE)
    content = os.read(read, 65_536) if ready else b""
    os.close(read)
    if not ready:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
    if content:
        return json.loads(content)
    return ["violation", f"no answer in {TIME_LIMIT} s" if not ready or status == signal.SIGXCPU else f"the process died (status {status})", TIME_LIMIT, 0]


def model_worker(seed, kind, number):
    """Try model files without end in this process, which imports Keras once; a line of JSON for each."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, contextlib.redirect_stdout(sys.stderr):
        healthy = healthy_model(Path(folder))
        say = lambda line: (sys.__stdout__.write(json.dumps(line) + "\n"), sys.__stdout__.flush())
        say("ready")
        for turn in range(10**9) if number is None else [number]:
            for name, make in MODEL_KINDS.items():
                if kind in (None, name):
                    with tempfile.TemporaryDirectory(dir=folder) as own:
                        say([name, turn, "begun", "", 0, 0])
                        say([name, turn, *tried(make, MODEL_MEMORY, Path(own), luck_of(seed, name, turn), Path(own), healthy)])


class ModelWorker:
    """The process for model files, and what it has said so far."""

    def __init__(self, seed, kind=None, number=None):
        command = [sys.executable, __file__, "--worker", "--seed", str(seed)] + (["--kind", kind, "--number", str(number)] if number is not None else [])
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.file, self.begun = self.process.stdout.fileno(), None
        self.lines, self.rest, self.heard = [], b"", time.monotonic()

    def listen(self, seconds):
        """What it has found meanwhile: [kind, number, outcome, text, seconds, MB]."""
        if select.select([self.file], [], [], seconds)[0]:
            block = os.read(self.file, 1 << 20)
            self.heard = time.monotonic()
            *lines, self.rest = (self.rest + block).split(b"\n")
            self.lines += [json.loads(line) for line in lines]
            if not block and self.process.poll() is not None and self.begun:
                self.lines.append([*self.begun, "violation", f"the process died ({self.process.returncode})", 0, 0])
                self.begun = None
        elif self.begun and time.monotonic() - self.heard > TIME_LIMIT * PATIENCE:
            self.process.kill()
            self.lines.append([*self.begun, "violation", f"no answer in {TIME_LIMIT} s", TIME_LIMIT, 0])
            self.begun = None
        found = [line for line in self.lines if line != "ready" and line[2] != "begun"]
        for line in self.lines:
            if line != "ready":
                self.begun = line[:2] if line[2] == "begun" else None
        self.lines = []
        return found


def warm_up():
    """Import what the data side needs, once, before the children are forked."""
    import pandas, pyarrow.parquet, PIL.Image, PIL.ImageOps, matplotlib.figure, matplotlib.backends.backend_agg  # noqa: F401, E401
    import emotion_maps.ablation, emotion_maps.face_regions, emotion_maps.filter_atlas, emotion_maps.optimised_images, emotion_maps.photo, emotion_maps.pipeline  # noqa: F401, E401
    from emotion_maps.drawn_faces import drawn_faces
    drawn_faces(14, 14)
    os.environ["EMOTION_MAPS_CACHE"] = ""
    assert "tensorflow" not in sys.modules and "keras" not in sys.modules


def run(seconds, seed, with_models=True, kinds=DATA_KINDS):
    """Try inputs for some seconds, each kind at least once: (counts, violations)."""
    started, counts, violations, worst = time.monotonic(), {}, [], {}

    def note(kind, number, outcome, text, took, memory):
        counts.setdefault(kind, {"result": 0, "refusal": 0, "violation": 0})[outcome] += 1
        slowest, largest = worst.get(kind, (0, 0))
        worst[kind] = max(slowest, took), max(largest, memory)
        if outcome == "violation":
            violations.append((kind, number, text))
            print(f"VIOLATION {kind}, number {number}: {text}\n  again: {Path(sys.executable).name} .ci/fuzz.py --seed {seed} --kind {kind!r} --number {number}", flush=True)

    worker = ModelWorker(seed) if with_models else None
    warm_up()
    number = 0
    while time.monotonic() - started < seconds or number < 1:
        for kind in kinds:
            if number < 1 or random.Random(f"{kind}{number}").random() < SLOW.get(kind, 1):
                note(kind, number, *in_a_child(kind, seed, number))
            for line in worker.listen(0) if worker else ():
                note(*line)
            if time.monotonic() - started > seconds and number:
                break
        for line in worker.listen(0 if kinds else .5) if worker else ():
            note(*line)
        number += 1
    waiting = time.monotonic()
    while worker and any(sum(counts.get(kind, {}).values()) < 3 for kind in MODEL_KINDS) and time.monotonic() - waiting < 240 and worker.process.poll() is None:
        for line in worker.listen(1):
            note(*line)
    if worker:
        worker.process.kill()
        if any(kind not in counts for kind in MODEL_KINDS):
            violations.append(("models", 0, "the model files were not tried"))
    print(f"{'kind':22}{'tried':>7}{'result':>8}{'refusal':>9}{'violation':>11}{'most CPU s':>11}{'most MB':>9}")
    for kind, found in counts.items():
        print(f"{kind:22}{sum(found.values()):7}{found['result']:8}{found['refusal']:9}{found['violation']:11}{worst[kind][0]:11.1f}{worst[kind][1]:9}")
    total = {name: sum(found[name] for found in counts.values()) for name in ("result", "refusal", "violation")}
    print(f"{sum(total.values()):,} inputs of {len(counts)} kinds in {time.monotonic() - started:.0f} s: {total['result']:,} ended in a result, {total['refusal']:,} in a refusal, "
          f"{total['violation']} against the rules. Seed {seed}.")
    if os.getuid() == 0:
        print("Run as root, which may read everything: folders without permission were tried as the user nobody.")
    return counts, violations


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=None, help="default: from the clock")
    parser.add_argument("--kind", choices=[*DATA_KINDS, *MODEL_KINDS], help="only this kind")
    parser.add_argument("--number", type=int, help="only this input of the kind")
    parser.add_argument("--no-models", action="store_true", help="leave out model files: no Keras")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    seed = int(time.time()) if given.seed is None else given.seed
    if given.worker:
        return model_worker(seed, given.kind, given.number)
    if given.number is not None:
        if given.kind in DATA_KINDS:
            warm_up()
            found = in_a_child(given.kind, seed, given.number)
        else:
            worker, found = ModelWorker(seed, given.kind, given.number), []
            while not found and worker.process.poll() is None or not found and (found := worker.listen(1)):
                found = worker.listen(1)
            found = found[0][2:]
        print(*found, sep="\n")
        return sys.exit(found[0] == "violation")
    print(f"Seed {seed}", flush=True)
    sys.exit(bool(run(given.seconds, seed, not given.no_models and given.kind not in DATA_KINDS, DATA_KINDS if given.kind is None else [given.kind] if given.kind in DATA_KINDS else [])[1]))


if __name__ == "__main__":
    main()
