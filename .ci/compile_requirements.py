"""Compile requirements.txt from settings.ini with uv: one lock for every platform and Python that the project supports."""
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

root = Path(__file__).parent.parent
settings = ConfigParser(delimiters=["="])
settings.read(root / "settings.ini", encoding="utf-8")
project = settings["DEFAULT"]
wanted = project["requirements"].split() + project["dev_requirements"].split()
with tempfile.NamedTemporaryFile("w", suffix=".in") as file:
    file.write("\n".join(wanted))
    file.flush()
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", project["min_python"],
               "--no-emit-index-url", "--no-header", "--no-annotate", file.name]
    pinned = subprocess.run(command, check=True, capture_output=True, text=True).stdout
head = "# Compiled from settings.ini by 'make lock': the tested set, for Python 3.11 to 3.13 on every platform.\n"
(root / "requirements.txt").write_text(head + pinned, encoding="utf-8")
