"""How Sphinx builds these pages: `make docs` writes them to docs/_build."""

import inspect
import re
from typing import Any

from docutils import nodes
from flax import nnx
from sphinx import addnodes
from sphinx.util.inspect import stringify_signature

import gradstab

project = "gradstab"
author = "The gradstab developers"
version = release = gradstab.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = "gradstab"

# `name` in a docstring is a link where there is such a name, and code where not.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
napoleon_attr_annotations = False
napoleon_use_ivar = True
napoleon_numpy_docstring = False
myst_heading_anchors = 3

MARKED = re.compile(r"(:math:`[^`]*`|``.*?``|`[^`]*`|(?<![\w*])\*\w+\*(?![\w*]))")
ARGUMENT = re.compile(r"\s*\*\*?\w+( \(.*\))?:")
# How a DTypeLike of JAX is written out; the tildes ask for short names.
DTYPE = re.compile(r"str \| type\[\S+ \| \S+dtype \| \S+SupportsDType \| \S+Any")


def setup(app: Any) -> None:
    """Hears what Sphinx is about to write."""
    app.connect("autodoc-process-signature", show_constructor)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("doctree-read", link_names)
    app.connect("html-page-context", shorten)
    # Before napoleon, which adds marks of its own.
    app.connect("autodoc-process-docstring", escape_mathematics, priority=400)


class Written(str):
    """Stands for a function or a class by its name, without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def show_constructor(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """Shows what a module is made of; its metaclass takes anything."""
    del app, name, options
    if what != "class" or not issubclass(obj, nnx.Module):
        return None
    found = inspect.signature(obj.__init__)
    arguments = [
        one.replace(default=Written(one.default.__name__))
        if hasattr(one.default, "__name__") and one.default is not one.empty
        else one
        for one in list(found.parameters.values())[1:]
    ]
    found = found.replace(parameters=arguments)
    written = stringify_signature(found, unqualified_typehints=True)
    return DTYPE.sub("DTypeLike", written), returns


def skip_fields(
    app: Any, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves out the fields of a NamedTuple, which its docstring describes."""
    del app, what, name, skip, options
    alias = (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")
    return True if alias else None


def public_names() -> dict[str, str]:
    """Finds the whole names of all that `gradstab` offers, by their ends."""
    whole: dict[str, str] = {}
    for floor in vars(gradstab).values():
        if inspect.ismodule(floor):
            short = floor.__name__.removeprefix("gradstab.")
            for name in vars(floor):
                if not name.startswith("_"):
                    path = f"{floor.__name__}.{name}"
                    whole |= {name: path, f"{short}.{name}": path, path: path}
    return whole


NAMES = public_names()


def link_names(app: Any, document: nodes.document) -> None:
    """Makes a link of every name of ours that stands as code in a sentence."""
    del app
    for link in document.findall(addnodes.pending_xref):
        link["reftarget"] = NAMES.get(link["reftarget"], link["reftarget"])
    for code in list(document.findall(nodes.literal)):
        words = code.astext().removeprefix("gs.").split("(")[0]
        is_linked = isinstance(code.parent, addnodes.pending_xref | nodes.reference)
        if words in NAMES and not is_linked:
            link = addnodes.pending_xref(
                refdomain="py", reftype="obj", reftarget=NAMES[words], refexplicit=True
            )
            code.replace_self(link)
            link += code


def shorten(app: Any, page: str, template: str, context: Any, doctree: Any) -> None:
    """Calls `jax.Array` by the name that it has for users."""
    del app, page, template, doctree
    if "body" in context:
        context["body"] = context["body"].replace("jaxlib._jax.", "jax.")


def escape_mathematics(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keeps |x| and (*batch, features) as they are: no docstring means markup by them.

    Only what stands in backticks, in a math directive or in an example is left alone.
    """
    del app, name, obj, options
    depth = None  # how far the directive or example at hand is indented
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if depth is not None and line.strip() and indent <= depth:
            depth = None
        if depth is None and line.lstrip().startswith((".. math::", ">>>")):
            depth = indent - line.lstrip().startswith(">>>")
        if depth is None and not ARGUMENT.match(line):
            parts = MARKED.split(line)
            parts[::2] = [re.sub(r"([|*])", r"\\\1", part) for part in parts[::2]]
            # `Param`s are several.
            parts[2::2] = [re.sub(r"^(?=\w)", r"\\ ", part) for part in parts[2::2]]
            lines[number] = "".join(parts)
    if what == "property":
        lines.insert(0, "")  # or napoleon takes what precedes a colon for a type
