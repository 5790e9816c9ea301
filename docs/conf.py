"""Sphinx: ``sphinx-build -W docs docs/_build`` (extra ``docs`` of setup.py)."""

import logging

import fairseq_lrn

# fairseq lets every library log what it likes.
logging.getLogger("markdown_it").setLevel(logging.WARNING)

project = "fairseq_lrn"
author = "the developers of fairseq_lrn"
copyright = f"2026, {author}"
version = release = fairseq_lrn.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"fairseq_lrn {version}"

myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]

autodoc_member_order = "bysource"
napoleon_use_ivar = True  # fields of a dataclass are listed once
autodoc_typehints = "description"
autodoc_default_options = {"members": True}
