"""The two pages: each one file that loads nothing, and the headers that hold it to that."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2

from detection.report.palette import CLASSES, STAGES, ink_on
from detection.version import VERSION

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", flags=re.DOTALL)


def read_page() -> str:
    """Return the page that accepts images, with the colours that drawings and reports have."""
    classes = [[colour, ink_on(colour)] for colour in CLASSES]
    page = _template("page.html").replace('"CLASSES"', json.dumps(classes))
    return page.replace('"STAGE_COLOURS"', json.dumps(STAGES))


def render_api(openapi: Mapping[str, Any]) -> str:
    """Return a page that documents the API, rendered from its OpenAPI description.

    FastAPI's own pages load scripts from another server; this one needs none.

    Args:
        openapi: the description.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = openapi.get("components", {}).get("schemas", {})
    fields = {
        name: {key: (type_name(value), value) for key, value in schema["properties"].items()}
        for name, schema in schemas.items()
        if not name.startswith(("Body_", "HTTPValidationError", "ValidationError"))
    }
    return environment.from_string(_template("api.html.j2")).render(
        operations=operations, schemas=schemas, fields=fields, version=VERSION
    )


def type_name(schema: Mapping[str, Any]) -> str:
    """Return in a word or two the type that a JSON schema describes."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    if "prefixItems" in schema:
        return f"{len(schema['prefixItems'])} numbers"
    if schema.get("type") == "array":
        return f"list of {type_name(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"name -> {type_name(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


def security_headers(pages: Sequence[str]) -> dict[str, str]:
    """Return headers that allow only these pages' own inline scripts and styles.

    Args:
        pages: as they are sent.
    """
    inline = [match for page in pages for match in _INLINE.findall(page)]
    hashes = {
        kind: " ".join(sorted({_csp_hash(text) for tag, text in inline if tag == kind})) or "'none'"
        for kind in ("script", "style")
    }
    policy = (
        "default-src 'none'",
        f"script-src {hashes['script']}",
        f"style-src {hashes['style']}",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _csp_hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _template(name: str) -> str:
    return (resources.files("detection.serving") / "templates" / name).read_text(encoding="utf-8")
