"""Measure anew what nbs/results says of shipped networks, once their weights have changed. Every result names its command; those that are of other weights are run again.

usage: python .ci/remeasure.py FER2013.zip [--jobs 2] [--list]     (what is of the shipped weights already is left, so the same call goes on after an interruption; hours on two cores)
"""
import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emotion_maps.core import EmotionMapsError, MissingStepError, ModelError, find_path, fingerprint, place, read_json, read_table
from emotion_maps.recipes import describe_model, outdated_members, pretrained_names
from emotion_maps.train import file_fingerprint

AFTER = {"05a_optimised_images.json": "05_filter_atlas.json", "05b_ablation.parquet": "05_filter_atlas.json", "05c_answer.json": "05b_ablation.parquet", "05b_narrower.json": "05b_ablation.parquet"}  # what a result is measured with


class Step(NamedTuple):
    """A result to measure: its file's name, its command, and the one that has to be there before."""

    name: str
    command: str
    after: str = ""


def fingerprints(path: Path) -> set[str]:
    """How results know shipped weights: by their file, as chapters 03 and 04c, or as Keras has them, as chapter 05 and those that build on it."""
    with np.load(path, allow_pickle=False) as arrays:
        weights = [arrays[key].astype("float32") for key in sorted(arrays.files)]
    return {fingerprint(np.fromfile(path, "uint8")), fingerprint(*weights)}


def marks(name: str) -> set[str]:
    """How results know a shipped network: by its fingerprints, or by its file's SHA-256; nothing for one whose members have changed."""
    described = describe_model(name)
    if "mirror" in described.manifest:
        return set() if outdated_members(name) else {file_fingerprint(described)}
    return fingerprints(described.path) | {described.manifest["sha256"]}


def notes(path: Path) -> dict[str, Any]:
    """What a result says of itself; {} for one that says nothing."""
    found = read_json(path) if path.suffix == ".json" else read_table(path).attrs
    return found if isinstance(found, dict) else {}


def longest_chain(name: str, before: dict[str, str]) -> int:
    """How many steps the longest chain has that goes through a step; `before`: each step's name, and that of the one it waits for ('' for none)."""
    longest = 0
    for chain in ([step] for step in before):
        while after := before[chain[-1]]:
            chain.append(after)
        longest = max(longest, len(chain) * (name in chain))
    return longest


def stale_results(results: Path) -> list[Step]:
    """The results of other weights than those shipped, first those of the longest chain of results that wait for one another; and before its scores, a network of several whose members have changed."""
    known, steps = {name: marks(name) for name in pretrained_names()}, []
    for path in sorted(path for path in results.iterdir() if path.suffix in (".json", ".parquet")):
        said = notes(path)
        about = said["networks"] if isinstance(said.get("networks"), dict) else {Path(str(said.get("model"))).stem: said.get("model_fingerprint")}
        stale = [name for name, mark in about.items() if name in known and mark not in known[name]]
        if not stale or not said.get("command"):
            continue
        before = AFTER.get(path.name, "")
        if outdated := [name for name in stale if outdated_members(name)]:
            before = f"{outdated[0]}.json"
            steps.append(Step(before, describe_model(outdated[0]).manifest["command"]))
        steps.append(Step(path.name, said["command"], before))
    there = {step.name for step in steps}
    for number, step in enumerate(steps):
        after = step.after
        while after and after not in there:  # what is not stale itself may still be made of what is
            after = AFTER.get(after, "")
        steps[number] = step._replace(after=after)
    waits_for = {step.name: step.after for step in steps}
    return sorted(steps, key=lambda step: -longest_chain(step.name, waits_for))


def ready_to_run(step: Step, data: str, notebook: str, results: str = "nbs/results") -> tuple[dict[str, str], list[str]]:
    """The environment variables and the words of a step's command, with the data put in, its run kept as `notebook` and its result where it was. Raises `MissingStepError` for a network that is not there."""
    words = shlex.split(step.command)
    at = next(number for number, word in enumerate(words) if "=" not in word)
    environment, words = {"KERAS_BACKEND": "tensorflow"} | dict(word.split("=", 1) for word in words[:at]), [str(data) if Path(word).name == "fer2013.zip" else word for word in words[at:]]
    for file in [file for word in words for file in word.split(",") if file.startswith("models/")]:
        if not place(file).is_file():
            raise MissingStepError(f"{step.name} is measured with {file}, which is not there", "train it first, by its command in the chapters")
    if words[0] == "papermill":
        words[2] = notebook
        told = ["-p", "result_file", f"{results}/{step.name}"] * (not {"ship_as", "result_file"} & {*words})
        return environment, [sys.executable, "-m", "papermill", *words[1:], *told]
    return environment, [sys.executable, *words[1:], *["--result", f"{results}/{step.name}"] * ("--result" not in words)]


def measure(step: Step, data: str, threads: int) -> float:
    """Run a step on so many threads: the minutes it took. Raises `ModelError` when it fails, with the end of what it said."""
    began, shares = time.monotonic(), dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), str(threads))
    with tempfile.TemporaryDirectory() as scratch:
        environment, words = ready_to_run(step, data, str(Path(scratch) / "out.ipynb"))
        ended = subprocess.run(words, env=shares | os.environ | environment, cwd=place("."), capture_output=True, text=True)
    if ended.returncode:
        raise ModelError(f"{step.name}: `{step.command}` ended with exit code {ended.returncode}\n{ended.stderr[-1500:]}", "mend that; the same call goes on from there")
    return (time.monotonic() - began) / 60


def remeasure(data: str, jobs: int = 2) -> None:
    """Run all stale results' commands, `jobs` at a time; what waits for one that failed is left. Raises as `measure`, once all others have ended."""
    waiting, running, done, failed = [*stale_results(place("nbs") / "results")], {}, [], {}
    for step in list(waiting):
        try:
            ready_to_run(step, data, "out.ipynb")
        except MissingStepError as error:
            print(f"left: {error}", flush=True)
            waiting.remove(step)
    count, began = len(waiting), time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        while True:
            not_there = {step.name for step in (*waiting, *running.values())} | failed.keys()
            for step in [step for step in waiting if step.after not in not_there][: jobs - len(running)]:
                waiting.remove(step)
                running[pool.submit(measure, step, data, max((os.cpu_count() or 1) // jobs, 1))] = step
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                step = running.pop(future)
                if error := future.exception():
                    failed[step.name] = error
                    print(f"failed: {error}", flush=True)
                    continue
                done.append(step.name)
                left = (time.monotonic() - began) / len(done) * (count - len(done)) / 60
                print(f"{len(done)}/{count} {step.name}: {future.result():.1f} minutes; about {left:.0f} minutes left", flush=True)
    for step in waiting:
        print(f"left: {step.name}, which waits for {step.after}", flush=True)
    for error in failed.values():
        raise error
    print("All results are of the shipped weights. Next: make notebooks, and read what the chapters say of the figures." if count else "All results were of the shipped weights already.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--jobs", type=int, default=2, help="how many to run at a time (%(default)s)")
    parser.add_argument("--list", action="store_true", help="only list what is to be measured")
    given = parser.parse_args()
    try:
        if given.list:
            print(*(f"{step.name}{f' (after {step.after})' * bool(step.after)}: {step.command}" for step in stale_results(place("nbs") / "results")), sep="\n")
        else:
            remeasure(str(find_path(given.data)), given.jobs)
    except EmotionMapsError as error:
        sys.exit(str(error))
