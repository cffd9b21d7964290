"""Run notebooks from top to bottom as JupyterLab would and store them executed and clean.

usage: python .ci/execute_notebooks.py [NOTEBOOK ...]     (default: every notebook in nbs/)
A notebook that fails, warns on standard error or stores a picture over 200 kB is left as it was, and named.
"""
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

LARGEST_OUTPUT = 200_000
FINISHED = re.compile(r"[A-Z][^\n:]*: done")  # a progress bar at its end
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def clean(notebook):
    """Drop what changes from run to run and what no reader needs; keep outputs, ids and tags."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.execution_count = None
            if "Progress(" not in cell.source:  # that is about the bar itself
                cell.outputs = [output for output in cell.outputs if not FINISHED.fullmatch(str(output.get("data", {}).get("text/plain", "")))]
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = None
                if "image/png" in output.get("data", {}):  # without its state a widget is only a broken link; the picture stays
                    output.data.pop("application/vnd.jupyter.widget-view+json", None)
                if "metadata" in output:
                    output.metadata = nbformat.from_dict({})
    return notebook


def join_streams(cell):
    """One block of printed text where the kernel sent several."""
    joined = []
    for output in cell.outputs:
        last = joined[-1] if joined else None
        if output.output_type == "stream" and last is not None and last.output_type == "stream" and last.name == output.name:
            last.text += output.text
        else:
            joined.append(output)
    cell.outputs = joined


def problems(notebook):
    """What must not be committed: warnings, errors, large outputs, this machine's paths."""
    here = str(Path.cwd())
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if here in str(output):
                yield f"a path of this machine in the output of the cell that begins {cell.source[:60]!r}"
            if output.output_type == "error" or output.get("name") == "stderr":
                yield f"{output.output_type} on standard error: {output.get('text', '')[:300]}"
            for kind, value in output.get("data", {}).items():
                size = len(value if isinstance(value, str) else str(value))
                if size > LARGEST_OUTPUT:
                    yield f"a stored {kind} of {size // 1000} kB in the cell that begins {cell.source[:60]!r}"


def execute(path):
    notebook = nbformat.read(path, as_version=4)
    try:
        NotebookClient(notebook, timeout=3600, kernel_name="python3", extra_arguments=["--IPKernelApp.log_level=50"],
                       resources={"metadata": {"path": str(path.parent)}}).execute()
    except CellExecutionError as error:
        return [f"it failed: {error}"]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            join_streams(cell)
    found = list(problems(notebook))
    if found:
        return found
    part = path.with_name("_" + path.name + ".part")
    nbformat.write(clean(notebook), part)
    part.replace(path)
    return []


def main(names):
    paths = [Path(name) for name in names] or sorted(Path("nbs").glob("[0-9i]*.ipynb"))
    failed = False
    for path in paths:
        print(path, flush=True)
        for problem in execute(path):
            failed = True
            print(f"  not stored: {problem}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
