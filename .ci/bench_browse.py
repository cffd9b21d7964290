"""How long the kernel needs for one step of a slider in the browser, with the shipped network: a frame at 60 Hz is 16 ms."""
import time

import numpy as np

from emotion_maps.browse import Browser
from emotion_maps.data import load_faces
from emotion_maps.filter_atlas import finish_atlas, gather, plan_atlas, regions_of_faces
from emotion_maps.recipes import open_model

FRAME = 16  # milliseconds
STEPS = 60  # of each slider
PACE = 1/30  # seconds between the steps that a dragged slider sends

faces = load_faces("drawn:70,70")
model = open_model("default").model
few, regions_of = faces[:20], regions_of_faces(faces[:20])
plan = plan_atlas(model, few.images, regions_of, sample=20)
browser = Browser(model, faces, finish_atlas(model, few, gather(model, few, regions_of, plan), plan))
browser.controls["layer"].value = "block3_conv2"  # the widest

print(f"{'step':12}{'median':>8}{'95 %':>8}  ms of the kernel's time, {STEPS} steps each; one every {PACE*1000:.0f} ms; a frame is {FRAME} ms")
sliders = {"strength": np.linspace(.01, .99, STEPS), "filter": np.arange(STEPS), "image": np.arange(STEPS) + 1, "layer": [browser.views.layers[step % 6] for step in range(STEPS)]}
for name, values in sliders.items():
    spent = []
    for value in values:
        started = time.perf_counter()
        browser.controls[name].value = value
        spent.append((time.perf_counter() - started)*1000)
        time.sleep(max(0, PACE - spent[-1]/1000))
    median, high = np.percentile(spent, [50, 95])
    print(f"{name:12}{median:8.1f}{high:8.1f}  {'within a frame' if high <= FRAME else 'more than a frame'}", flush=True)
