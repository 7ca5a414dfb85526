"""How Sphinx builds the documentation: `make docs`. Code cells run at every build; the notebooks are shown as saved."""

import importlib.metadata
import inspect
import os
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

project = "llmflow_nb"
author = "the llmflow_nb authors"
copyright = author
release = importlib.metadata.version("llmflow_nb")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "llmflow_nb"
html_static_path = ["_static"]
html_css_files = ["page.css"]
html_show_copyright = html_show_sphinx = html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}
pygments_style, pygments_dark_style = "tango", "monokai"

# Docstrings are written for help() and an editor: single backticks stand for code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_typehints = "none"  # the docstrings say it in words
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_excludepatterns = ["notebooks/*"]  # `make notebooks` runs these, and compares
nb_execution_in_temp = True
nb_execution_timeout = 60
nb_execution_show_tb = True
nb_ipywidgets_js = {}  # a page asks nothing of the network
nb_merge_streams = True

# Code cells run in a folder of their own: there `!python` is this one, and `layers` can be imported.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["PYTHONPATH"] = str(HERE)

shutil.rmtree(HERE / "notebooks", ignore_errors=True)
shutil.copytree(HERE.parent / "notebooks", HERE / "notebooks")


def setup(app: Any) -> None:
    """Show a class with the arguments of its ``__init__``; Sphinx would look at ``__new__`` first."""

    def of_init(app: Any, what: str, name: str, obj: Any, *rest: Any) -> tuple[str, str] | None:
        return (str(inspect.signature(obj)), "") if what == "class" else None

    app.connect("autodoc-process-signature", of_init)
