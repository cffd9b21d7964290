"""Which finder of faces, and how FER2013 is cropped: measured, and written to nbs/results/06a_photo.json.

usage: python .ci/bench_photo.py FER2013.zip [--faces 60]     (landmarks68.npz lies beside the archive)
It also needs `pip install opencv-python-headless==4.14.*`, which nothing else here does.
"""
import argparse
import importlib.metadata
import time
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter

from emotion_maps.core import peak_memory, write_json
from emotion_maps.data import load_faces
from emotion_maps.drawn_faces import drawn_faces
from emotion_maps.evaluate import predict
from emotion_maps.face_regions import find_landmarks, read_landmarks
from emotion_maps.photo import FER2013_MIDDLE, FoundFace, crop_face, detect_with_mtcnn, find_faces, five_of, five_points
from emotion_maps.recipes import open_model

HEIGHT, WIDTH = 480, 640
CONDITIONS = {"upright, 32 px": (32, 0), "upright, 48 px": (48, 0), "upright, 96 px": (96, 0), "upright, 160 px": (160, 0),
              "leaning by 15°": (120, 15), "leaning by 30°": (120, 30), "leaning by 45°": (120, 45), "a quarter turn": (120, 90)}
PACKAGES = {"haar": ("opencv-python-headless",), "mtcnn": ("mtcnn", "lz4")}


def background(kind, random):
    """Something without a face: (480, 640) in 0…255."""
    if kind == "noise":
        values = random.normal(128, 40, (HEIGHT, WIDTH))
    elif kind == "blurred":
        coarse = PIL.Image.fromarray(random.integers(0, 255, (6, 8)).astype("uint8"))
        values = np.asarray(coarse.resize((WIDTH, HEIGHT), PIL.Image.Resampling.BICUBIC), float) + random.normal(0, 4, (HEIGHT, WIDTH))
    else:
        values = np.linspace(40, 210, WIDTH)[None] + np.linspace(-30, 30, HEIGHT)[:, None] + random.normal(0, 3, (HEIGHT, WIDTH))
    return values.clip(0, 255)


def compose(faces, points, side, angle, kind, random):
    """Six faces (48, 48), `side` pixels wide and turned clockwise, in a background: the photo and where their points (5, 2) came to lie."""
    canvas, truth, turn = background(kind, random), [], np.radians(angle)
    for number, (face, five) in enumerate(zip(faces, points)):
        row, column = divmod(number, 3)
        y, x, edge, room = 120 + 240 * row, 107 + 213 * column, max(1, side // 24), 2 * int(np.ceil(side * 0.75))
        soft = np.zeros((side, side), "uint8")
        soft[edge:-edge, edge:-edge] = 255
        soft = PIL.Image.fromarray(soft).filter(PIL.ImageFilter.GaussianBlur(edge / 2))
        large, mask = PIL.Image.new("L", (room, room)), PIL.Image.new("L", (room, room))
        large.paste(PIL.Image.fromarray(face).resize((side, side), PIL.Image.Resampling.BICUBIC), ((room - side) // 2,) * 2)
        mask.paste(soft, ((room - side) // 2,) * 2)
        large, mask = (np.asarray(one.rotate(-angle, PIL.Image.Resampling.BICUBIC), float) for one in (large, mask))
        top, left = y - room // 2, x - room // 2
        rows, columns = slice(max(0, top), min(HEIGHT, top + room)), slice(max(0, left), min(WIDTH, left + room))
        inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        share = mask[inner] / 255
        canvas[rows, columns] += share * (large[inner] - canvas[rows, columns])
        centred = (five + 0.5 - 24) * side / 48
        truth.append(centred @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + (x - 0.5, y - 0.5))
    return np.repeat(canvas.round().astype("uint8")[..., None], 3, 2), truth


def haar_finder():
    import cv2

    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    return lambda photo: [FoundFace(tuple(map(float, box)), None, 1.0)
                          for box in cascade.detectMultiScale(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), 1.1, 5, minSize=(20, 20))]


FINDERS = {"haar": haar_finder, "mtcnn": lambda: detect_with_mtcnn}


def matches(found, truth, side):
    """For each true face, the found face whose box lies on it (None where there is none)."""
    matched, left = [], list(found)
    for five in truth:
        middle = five[:3].mean(0)
        fitting = [face for face in left if np.hypot(face.box[0] + face.box[2] / 2 - middle[0], face.box[1] + face.box[3] / 2 - middle[1]) < 0.3 * side
                   and 0.4 * side < face.box[2] < 1.6 * side]
        matched.append(fitting[0] if fitting else None)
        left = [face for face in left if face is not matched[-1]]
    return matched


def photos_of(images, points, side, angle):
    random = np.random.default_rng(1)
    for first in range(0, len(images), 6):
        yield compose(images[first:first + 6], points[first:first + 6], side, angle, ("noise", "blurred", "gradient")[first // 6 % 3], random)


def examine(find, images, points):
    """Detection rate by condition, false boxes, error of the eyes, seconds."""
    found, false, errors, seconds, photos = {}, 0, [], [], 0
    for condition, (side, angle) in CONDITIONS.items():
        hits = 0
        for photo, truth in photos_of(images, points, side, angle):
            begun = time.process_time()
            faces = find(photo)
            seconds.append(time.process_time() - begun)
            matched = matches(faces, truth, side)
            hits, photos = hits + sum(face is not None for face in matched), photos + 1
            false += len(faces) - sum(face is not None for face in matched)
            if angle < 45:
                errors += [np.linalg.norm(face.points[:2] - five[:2], axis=1).mean() / np.linalg.norm(five[1] - five[0])
                           for face, five in zip(matched, truth) if face is not None and face.points is not None]
        found[condition] = hits / len(images)
        print(condition, f"{found[condition]:.3f}", flush=True)
    for seed in range(12):
        empty = background(("noise", "blurred", "gradient")[seed % 3], np.random.default_rng(seed))
        false, photos = false + len(find(np.repeat(empty.astype("uint8")[..., None], 3, 2))), photos + 1
    return {"found": found, "false_boxes": false, "photos": photos, "eye_error": float(np.median(errors)) if errors else None, "seconds": float(np.median(seconds))}


def install_mb(packages):
    """What the files of installed distributions take on disk."""
    sizes = [Path(file.locate()).stat().st_size for name in packages for file in importlib.metadata.files(name) or () if Path(file.locate()).is_file()]
    return sum(sizes) / 1e6


def crop_facts(points):
    """How faces with landmarks (n, 68, 2) lie in their images."""
    middle, size, angle = five_points(five_of(points))
    eyes = np.linalg.norm(points[:, 36:42].mean(1) - points[:, 42:48].mean(1), axis=1)
    return {"faces": len(points), "middle": np.median(middle, 0), "size": float(np.median(size)), "angle_deviation": float(angle.std()),
            "variation": {"size": float(size.std() / size.mean()), "eyes": float(eyes.std() / eyes.mean())}}


def crop_again(images, labels, points):
    """What the shipped network makes of faces that were pasted, found and cropped again."""
    trained, kept, again = open_model("default"), [], {"points of the detector": [], "points of the landmarks": []}
    shifts, number = {name: [] for name in again}, 0
    for photo, truth in photos_of(images, points, 120, 0):
        once = detect_with_mtcnn(photo)
        found = {name: matches(find_faces(photo, lambda small: once, refine, turn=False), truth, 120) for name, refine in zip(again, (False, True))}
        for place, five in enumerate(truth):
            if all(faces[place] is not None for faces in found.values()):
                kept.append(number + place)
                for name, faces in found.items():
                    again[name].append(crop_face(photo, faces[place]))
                    shifts[name].append(np.linalg.norm((five_points(five).middle - faces[place].to_photo(np.array(FER2013_MIDDLE)))) * 48 / faces[place].side)
        number += len(truth)
    said = predict(trained, images[kept]).argmax(1)
    rows = {"the original": {"accuracy": float((said == labels[kept]).mean()), "same": 1.0, "middle_off": float(np.linalg.norm(five_points(points[kept]).middle - FER2013_MIDDLE, axis=1).mean())}}
    for name, crops in again.items():
        answers = predict(trained, np.stack(crops)).argmax(1)
        rows[name] = {"accuracy": float((answers == labels[kept]).mean()), "same": float((answers == said).mean()), "middle_off": float(np.mean(shifts[name]))}
    return {"pasted": len(images), "faces": len(kept), "crops": rows}


def drawn_found(find):
    faces = drawn_faces(60, 0).images
    points = np.broadcast_to(five_of(np.zeros((1, 68, 2))) + 24, (60, 5, 2))
    return sum(face is not None for photo, truth in photos_of(faces, points, 160, 0) for face in matches(find(photo), truth, 160)) / len(faces)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--faces", type=int, default=60)
    given = parser.parse_args()
    faces = load_faces(str(given.archive))
    reference = read_landmarks(given.archive.with_name("landmarks68.npz"), faces)
    good = reference[reference.good]
    test = good[good.faces.usage == "PublicTest"]
    chosen = test[np.random.default_rng(0).permutation(len(test.faces))]
    images, points, labels = chosen.faces.images, five_of(np.asarray(chosen.points, float)), chosen.faces.labels
    command = f"python .ci/bench_photo.py fer2013.zip --faces {given.faces}"
    find_landmarks(images[:1])  # Keras is loaded before memory is compared
    result = {"command": command, "data": faces.fingerprint, "detectors": {}, "crop": crop_facts(np.asarray(good.points, float)) | {"command": command}}
    finders, first = {}, background("noise", np.random.default_rng(0)).astype("uint8")[..., None].repeat(3, 2)
    for name, make in FINDERS.items():
        print(name, flush=True)
        before = peak_memory()
        finders[name] = find = make()
        find(first)
        memory = peak_memory() - before
        packages = " and ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES[name][:1])
        result["detectors"][name] = examine(find, images[:given.faces], points[:given.faces]) | {"package": packages, "install_mb": install_mb(PACKAGES[name]), "memory_mb": memory}
    result["drawn"] = {"faces": 60} | {name: drawn_found(finders[name]) for name in ("mtcnn", "haar")}
    result["again"] = crop_again(images[:3 * given.faces], labels[:3 * given.faces], points[:3 * given.faces]) | {"command": command}
    print(write_json(Path(__file__).parent.parent / "nbs" / "results" / "06a_photo.json", result))


if __name__ == "__main__":
    main()
