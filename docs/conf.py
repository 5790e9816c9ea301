"""Sphinx configuration: ``sphinx-build -W docs docs/_build``, after ``bash scripts/setup.sh docs``.

The pages load nothing from a network. Formulas are literal blocks: an equation would add MathJax,
which Sphinx loads from a server.
"""

import logging

import fairseq_lrn

# Importing fairseq lowers the level of the root logger, and markdown_it would log every rule.
logging.getLogger("markdown_it").setLevel(logging.WARNING)

project = "fairseq_lrn"
author = "the developers of fairseq_lrn"
copyright = f"2026, {author}"
version = release = fairseq_lrn.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wrap.css"]
html_title = f"fairseq_lrn {version}"

myst_heading_anchors = 3

autodoc_member_order = "bysource"
napoleon_use_ivar = True  # otherwise the fields of a dataclass would be listed twice
autodoc_typehints = "description"
autodoc_default_options = {"members": True}
