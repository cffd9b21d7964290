"""Package metadata, read from settings.ini; the numbered notebooks travel in the wheel as `emotion_maps.notebooks`."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

settings = ConfigParser(delimiters=["="])
settings.read(Path(__file__).with_name("settings.ini"), encoding="utf-8")
project = settings["DEFAULT"]

setup(
    name=project["lib_name"],
    version=project["version"],
    description=project["description"],
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=project["author"],
    author_email=project["author_email"],
    license="Apache-2.0",
    keywords=project["keywords"],
    python_requires=f">={project['min_python']},<3.14",
    install_requires=project["requirements"].split(),
    extras_require={"dev": project["dev_requirements"].split(), "distributed": project["distributed_requirements"].split()},
    packages=["emotion_maps", "emotion_maps.notebooks"],
    package_dir={"emotion_maps.notebooks": "nbs"},
    package_data={"emotion_maps": ["weights/*", "weights/*/*", "report_page/*", "example_photo/*"], "emotion_maps.notebooks": ["*.ipynb", "results/*"]},
    entry_points={"console_scripts": project["console_scripts"].split()},
    zip_safe=False,
)
