"""The site: Sphinx with MyST reads the pages as they are; `scripts/docs` builds it."""

project = "primer"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
html_theme = "furo"  # brings its fonts and scripts along: pages need no network
html_title = "primer"
html_copy_source = False
