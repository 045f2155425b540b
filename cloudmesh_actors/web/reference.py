"""The API's documentation page, drawn from its OpenAPI document: no script, nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from cloudmesh_actors.web import pages


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as the page shows it: `body` and `answer` are outlines of their JSON."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[dict[str, Any]]
    body: str
    answer: str
    example: str


def page(request: Request) -> Response:
    """The page."""
    document = request.app.openapi()
    base = f"{request.url.scheme}://{request.url.netloc}"
    return pages.page(request, "api.html", operations=list(operations(document, base)))


def operations(document: Mapping[str, Any], base: str) -> Iterator[Operation]:
    """All operations of an OpenAPI document, in its order."""
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            good: dict[str, Any] = next(
                (answer for status, answer in told["responses"].items() if status.startswith("2")), {}
            )
            answer = good.get("content", {}).get("application/json", {}).get("schema")
            yield Operation(
                method=method.upper(), path=path, summary=told.get("summary", ""),
                description=told.get("description", ""),
                parameters=[_parameter(each) for each in told.get("parameters", [])],
                body=_text(body, document), answer=_text(answer, document),
                example=example(method, base + path, outline(body, document) if body else None),
            )  # fmt: skip


def example(method: str, url: str, body: Any) -> str:
    """A command line that asks for it."""
    shown = url.replace("{", "").replace("}", "")
    if method == "get":
        return f"curl '{shown}'"
    if body is None:
        return f"curl -X POST '{shown}'"
    return f"curl '{shown}' -H 'Content-Type: application/json' -d '{json.dumps(body)}'"


def outline(schema: Mapping[str, Any], document: Mapping[str, Any], depth: int = 0) -> Any:
    """JSON of the form that a schema asks for, with the names of types for values."""
    if "$ref" in schema:
        target = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return outline(target, document, depth + 1) if depth < 6 else "…"
    if "properties" in schema:
        return {name: outline(each, document, depth + 1) for name, each in schema["properties"].items()}
    if schema.get("type") == "array":
        return [outline(schema.get("items", {}), document, depth + 1)]
    return _type(schema, document, depth)


def _type(schema: Mapping[str, Any], document: Mapping[str, Any], depth: int) -> Any:
    if "anyOf" in schema:
        parts = [outline(each, document, depth + 1) for each in schema["anyOf"]]
        return next((each for each in parts if not isinstance(each, str)), " | ".join(map(str, parts)))
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "object":
        return {}
    return schema.get("format") or schema.get("type") or "anything"


def _parameter(told: Mapping[str, Any]) -> dict[str, Any]:
    schema = told.get("schema", {})
    return {
        "name": told["name"], "place": told["in"], "required": told.get("required", False),
        "type": outline(schema, {"components": {"schemas": {}}}) if "$ref" not in str(schema) else _names(schema),
        "description": told.get("description", ""),
    }  # fmt: skip


def _names(schema: Mapping[str, Any]) -> str:
    references = [each.get("$ref", "") for each in schema.get("anyOf", [schema])]
    return " | ".join(filter(None, (name.rpartition("/")[2] for name in references)))


def _text(schema: Mapping[str, Any] | None, document: Mapping[str, Any]) -> str:
    return json.dumps(outline(schema, document), indent=2, ensure_ascii=False) if schema else ""
