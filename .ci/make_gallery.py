"""The pictures that README shows, made from drawn faces: small copies of the figures of `make run`.

usage: python .ci/make_gallery.py     (run `make run` first)
"""
import sys
from pathlib import Path

from PIL import Image

root = Path(__file__).parent.parent
sys.path.insert(0, str(root))
from emotion_maps.core import read_json, write_whole  # noqa: E402

WIDTH, LARGEST = 1400, 200_000
PICTURES = {"tour_test-happy-*.png": "one_face_through_all_layers.png"}

manifest = read_json(root / "models" / "best_emotion_model.json")
if manifest["data"] != "drawn":
    sys.exit("The model in models/ was trained on other faces than drawn ones, and no picture of those may be published: `make run` first")
figures = root / "activation_maps_output" / manifest["run"] / "figures"
for pattern, name in PICTURES.items():
    found = sorted(figures.glob(pattern))
    if not found:
        sys.exit(f"There is no figure {pattern} in {figures}: `make run` first")
    picture = Image.open(found[0]).convert("RGB")
    picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    with write_whole(root / "activation_maps_output" / "gallery" / name) as part:
        picture.quantize(192).save(part, optimize=True)
    size = (root / "activation_maps_output" / "gallery" / name).stat().st_size
    print(name, picture.size, f"{size // 1000} kB")
    if size > LARGEST:
        sys.exit(f"{name} is larger than {LARGEST // 1000} kB")
