"""What HTML pages have in common that need nothing but themselves."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from desmezcla.evaluation.optional import require


def page_template(package: str, folder: str, **filters: Callable[..., Any]) -> Any:
    """Return the template `report.html.j2` of a folder of a package.

    Args:
        package: Full name of the package.
        folder: Below it.
        filters: What the template calls by these names.

    Errors:
        DesmezclaError: if Jinja is not installed.
    """
    jinja2 = require("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    # The filter `tojson` writes <, > and & as escapes; what is no number in JSON must not come.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters.update(filters)
    return environment.get_template("report.html.j2")


def policy_hash(text: str) -> str:
    """Return what names a text in a Content-Security-Policy: no other script or style is run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
