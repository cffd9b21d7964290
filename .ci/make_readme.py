"""README.md from nbs/index.ipynb, without Quarto.

usage: python .ci/make_readme.py [TARGET]     (default: README.md)
"""
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

root = Path(__file__).parent.parent
notebook = nbformat.read(root / "nbs" / "index.ipynb", as_version=4)
for number, cell in enumerate(notebook.cells):
    if cell.source.startswith("#| hide_input"):  # a text that is computed: only what it says
        text = "\n\n".join(output["data"]["text/markdown"] for output in cell.outputs)
        notebook.cells[number] = nbformat.v4.new_markdown_cell(text)
notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith("#| hide")]
for cell in notebook.cells:
    if cell.cell_type == "code":
        cell.source = re.sub(r"^#\|.*\n", "", cell.source, flags=re.M)
        for output in cell.outputs:
            output.get("data", {}).pop("text/html", None)  # README's readers get the plain table
text, resources = MarkdownExporter().from_notebook_node(notebook)
if resources.get("outputs"):
    sys.exit("index.ipynb stores a picture as an output: save it in activation_maps_output/gallery/ and show it from there")
text = text.replace("](../", "](").replace('="../', '="').strip() + "\n"
note = "<!-- Made from nbs/index.ipynb by 'make readme': change it there. -->\n\n"
(Path(sys.argv[1]) if len(sys.argv) > 1 else root / "README.md").write_text(note + text, encoding="utf-8")
