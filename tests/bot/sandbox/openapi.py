"""Discord's own description of its REST API, and what is wrong with a request or an answer by it.

The description (OpenAPI 3.1) is no part of the repository: `WEFT_DISCORD_OPENAPI` names the file, or it lies in
`shared/data` beside the repository.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from bot.sandbox import RestCall

_NAME = "discord-openapi.json"
_BASE = "urn:discord"
_PARAMETER = re.compile(r"\{[^}]*\}")


def find_description() -> Path | None:
    """The file: the named one, or the one in `shared/data` beside a directory above this one."""
    named = os.environ.get("WEFT_DISCORD_OPENAPI")
    if named:
        return Path(named)
    beside = (above / "shared" / "data" / _NAME for above in Path(__file__).resolve().parents)
    return next((path for path in beside if path.is_file()), None)


def best_match(templates: Iterable[str], path: str) -> str:
    """The path template that a path was made by: the one with the fewest parameters. Raises LookupError."""
    found = [one for one in templates if re.fullmatch("[^/]+".join(map(re.escape, _PARAMETER.split(one))), path)]
    if not found:
        raise LookupError(f"the description has no {path}")
    return min(found, key=lambda one: one.count("{"))


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, and where it stands in the document."""

    name: str
    pointer: str
    shape: Mapping[str, Any]


@dataclass(slots=True)
class Description:
    """The document, made strict: a field that it does not name is a problem."""

    document: dict[str, Any]
    _registry: Registry[Any] = field(init=False)
    _validators: dict[str, Draft202012Validator] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _close(self.document["components"]["schemas"])
        resource = Resource.from_contents(self.document, default_specification=DRAFT202012)
        self._registry = Registry().with_resource(_BASE, resource)

    def operation(self, method: str, path: str) -> Operation:
        """What a request asks for; raises LookupError."""
        method = method.lower()
        paths = self.document["paths"]
        template = best_match((one for one, methods in paths.items() if method in methods), path)
        pointer = template.replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
        return Operation(f"{method.upper()} {template}", f"/paths/{pointer}/{method}", paths[template][method])

    def problems_of_answer(self, call: RestCall) -> list[str]:
        """What is wrong with an answer."""
        operation = self.operation(call.method, call.path)
        status = str(call.status)
        if call.status >= 400 and status not in operation.shape["responses"]:
            status = "4XX"
        answer = operation.shape["responses"].get(status)
        if answer is None:
            return [f"{operation.name} never answers {call.status}"]
        if "$ref" in answer:
            pointer = answer["$ref"].removeprefix("#")
            answer = self.document["components"]["responses"][pointer.rsplit("/", 1)[1]]
        else:
            pointer = f"{operation.pointer}/responses/{status}"
        if "content" not in answer:
            return [f"{operation.name} {status} has no body"] if call.answer else []
        found = self._problems(f"{pointer}/content/application~1json/schema", json.loads(call.answer or b"null"))
        return [f"{operation.name} {call.status} {one}" for one in found]

    def problems_of_request(self, call: RestCall) -> list[str]:
        """What is wrong with a request's body."""
        operation = self.operation(call.method, call.path)
        if call.body is None:
            needed = operation.shape.get("requestBody", {}).get("required")
            return [f"{operation.name} needs a body"] if needed else []
        if "requestBody" not in operation.shape:
            return [f"{operation.name} takes no body"]
        pointer = f"{operation.pointer}/requestBody/content/application~1json/schema"
        return [f"{operation.name} {one}" for one in self._problems(pointer, call.body)]

    def _problems(self, pointer: str, value: Any) -> list[str]:
        if pointer not in self._validators:
            schema = {"$ref": f"{_BASE}#{pointer}"}
            self._validators[pointer] = Draft202012Validator(schema, registry=self._registry)
        errors = list(self._validators[pointer].iter_errors(value))
        return sorted({_text(leaf) for error in errors for leaf in _leaves(error)})


@cache
def description(path: Path) -> Description:
    """Read the document once."""
    return Description(json.loads(path.read_text()))


def _close(schemas: Mapping[str, Any]) -> None:
    """Let no field pass that a schema does not name, where it stands alone."""
    for schema in schemas.values():
        if schema.get("properties") and "allOf" not in schema:
            schema.setdefault("additionalProperties", False)
    for part in schemas["ErrorResponse"]["allOf"] + schemas["RatelimitedResponse"]["allOf"]:
        name = part.get("$ref", "").rsplit("/", 1)[-1]
        schemas.get(name, part).pop("additionalProperties", None)


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """The errors behind one: of alternatives, those of the one that came nearest."""
    if not error.context:
        yield error
        return
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    for inner in min(branches.values(), key=_distance):
        yield from _leaves(inner)


def _distance(branch: list[ValidationError]) -> tuple[int, int]:
    """How far an alternative is off: another type altogether (or null), another kind of object, or only some fields."""
    if any(one.validator == "type" and not one.relative_path for one in branch):
        return 2 + (branch[0].validator_value == "null"), len(branch)
    return int(any(one.validator in ("enum", "const") for one in branch)), len(branch)


def _text(error: ValidationError) -> str:
    where = ".".join("[]" if isinstance(one, int) else str(one) for one in error.absolute_path)
    return f"{where}: {error.message[:160]}"
