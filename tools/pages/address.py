"""Where the book's repository and its pages are; both empty until someone says so."""

import os
import re

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError

GITHUB = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git|/)?")


def setup(app: Sphinx) -> None:
    app.add_config_value("pft_repository", "", "html", [str])
    app.add_config_value("pft_branch", "main", "html", [str])
    app.connect("config-inited", read)


def read(app: Sphinx, config: Config) -> None:
    """Complete the settings: the environment's word first, then GitHub Pages' own rule."""
    config.pft_repository = os.environ.get("PFTLAB_REPOSITORY") or config.pft_repository
    if not config.pft_repository:
        return
    match = GITHUB.fullmatch(config.pft_repository)
    if not match:
        raise ConfigError(
            f"pft_repository is {config.pft_repository!r}. Give the address of a repository on "
            "GitHub, https://github.com/OWNER/NAME, or leave it empty."
        )
    owner, name = match["owner"], match["name"]
    config.pft_repository = f"https://github.com/{owner}/{name}"
    if not config.html_baseurl:
        host = f"https://{owner.lower()}.github.io/"
        own = name.lower() == f"{owner.lower()}.github.io"
        config.html_baseurl = host if own else f"{host}{name}/"
