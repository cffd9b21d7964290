"""README.md from nbs/index.ipynb, without Quarto.

usage: python .ci/make_readme.py [TARGET]     (default: README.md)
"""
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from nbdev.processors import FilterDefaults
from nbdev.process import NBProcessor

root = Path(__file__).parent.parent
processor = NBProcessor(root / "nbs" / "index.ipynb", procs=FilterDefaults().procs())
processor.process()
notebook = nbformat.reads(nbformat.writes(nbformat.from_dict(processor.nb)), as_version=4)
text, resources = MarkdownExporter().from_notebook_node(notebook)
if resources.get("outputs"):
    sys.exit("index.ipynb stores a picture as an output: save it in activation_maps_output/gallery/ and show it from there")
text = text.replace("](../", "](").replace('="../', '="').strip() + "\n"
note = "<!-- Made from nbs/index.ipynb by 'make readme': change it there. -->\n\n"
(Path(sys.argv[1]) if len(sys.argv) > 1 else root / "README.md").write_text(note + text, encoding="utf-8")
