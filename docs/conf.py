"""How Sphinx makes a site of the guides, the protocols and ARCHITECTURE.md (`scripts/docs`)."""

import re
from importlib import metadata

from pygments.lexers.shell import BashSessionLexer
from sphinx.application import Sphinx

project = "p2pnode"
version = release = metadata.version("p2pnode")
html_title = f"p2pnode {version}"
html_theme = "furo"
extensions = ["myst_parser", "sphinx_copybutton"]
root_doc = "docs/index"
# Links to headings, as GitHub names them.
myst_heading_anchors = 4
# The commands of a block are copied, not what they print.
copybutton_prompt_text = r"[a-z]*\$ |> "
copybutton_prompt_is_regexp = True


class MachineSession(BashSessionLexer):
    """A terminal whose prompt is a machine's name: `ada$ `."""

    name = "Terminals of named machines"
    aliases = ["console"]
    _ps1rgx = re.compile(r"^([a-z]*\$ )(.*\n?)")
    _ps2 = "> "


def setup(app: Sphinx) -> None:
    app.add_lexer("console", MachineSession)
