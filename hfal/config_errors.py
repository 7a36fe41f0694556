"""What is wrong with a config, as one line for people."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from hfal.errors import HfalError, listing, nearest

Model = TypeVar("Model", bound=BaseModel)

VARIANTS = ("frozen_head", "fine_tune", "text_classification", "token_classification")
"""Names by which pydantic tells the kinds of a section apart: no part of a key's path."""


def checked(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """The values as a model of pydantic.

    Raises:
        HfalError: all that is wrong, in one line.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = [describe(problem, model) for problem in error.errors()]
        raise HfalError(f"{where}: " + "; and ".join(dict.fromkeys(problems))) from None


def describe(problem: Any, root: type[BaseModel]) -> str:
    """The key's path, what was given, what is allowed, and the nearest name."""
    location = [part for part in problem["loc"] if part not in VARIANTS]
    path = ".".join(text if (text := str(part)).isprintable() else repr(text)[1:-1] for part in location)
    kind, given = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        known = _keys_beside(location, root)
        return f"unknown key {path}{nearest(str(location[-1]), known)}; known here: {listing(known, 30)}"
    if kind == "missing":
        return f"key {path} is missing"
    if kind in ("literal_error", "union_tag_invalid"):
        context = problem.get("ctx", {})
        allowed = str(context.get("expected") or context.get("expected_tags"))
        names = [name.strip(" '") for name in allowed.replace(" or ", ",").split(",")]
        if kind == "union_tag_invalid":
            path, given = f"{path}.type", context.get("tag")
        return f"{path}: {given!r} is not allowed{nearest(str(given), names)}; allowed: {listing(names)}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not location:
        return str(message)
    shown = repr(given) if len(repr(given)) <= 80 else repr(given)[:77] + "..."
    return f"{path}: {shown} given; {'must be ' if problem['msg'].startswith('Input should') else ''}{message}"


def _keys_beside(location: list[Any], root: type[BaseModel]) -> list[str]:
    """The keys that the section of this path knows."""
    sections: list[type[BaseModel]] = [root]
    for part in location[:-1]:
        found: list[type[BaseModel]] = []
        for section in sections:
            field = section.model_fields.get(str(part))
            if field is not None:
                found.extend(_models_in(field.annotation))
        sections = found
    names = [f.alias or name for section in sections for name, f in section.model_fields.items()]
    return list(dict.fromkeys(names))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
