"""JSON files of others, checked against what they should hold before a card is made of them."""

import json
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict


def read_json(path: str | Path, schema: Any) -> Any:
    """
    Reads a JSON file.

    Args:
        path (`str` or `Path`): The file.
        schema (`type`): What it holds: a `TypedDict`, or any type that [`mismatch`] knows.

    Returns:
        Its content, which is as the schema says. A `TypedDict` may have other keys beside its own.

    Raises:
        `ValueError`: If it is no JSON, or holds something else; the message names file and place.
    """
    try:
        content = parse_json(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is no JSON file, or a damaged one ({error}).") from None
    if problem := mismatch(content, schema):
        raise ValueError(f"{path}: {one_line(problem)}.")
    return content


def as_declared(value: Any, schema: Any) -> Any:
    """What is as a schema says, without the keys that it does not name."""
    if is_typeddict(schema):
        hints = get_type_hints(schema)
        return {name: as_declared(value[name], hints[name]) for name in hints if name in value}
    if get_origin(schema) is list:
        return [as_declared(item, get_args(schema)[0]) for item in value]
    return value


def parse_json(text: str) -> Any:
    """What a JSON text holds, unless it is half of a surrogate pair, which no text file can hold.

    Raises:
        `ValueError` or `RecursionError`: If it cannot be parsed.
    """
    content = json.loads(text)
    if "\\ud" in text.lower():
        json.dumps(content, ensure_ascii=False).encode()
    return content


def mismatch(value: Any, expected: Any, where: str = "the content") -> str:
    """What keeps a value from being of a type, in words; empty if nothing does. Numbers are finite."""
    if expected is Any:
        return ""
    if is_typeddict(expected):
        if not isinstance(value, dict):
            return f"{where} should be an object, and is {shown(value)}"
        if missing := sorted(expected.__required_keys__ - value.keys()):
            return f"{where} lacks {', '.join(missing)}"
        hints = get_type_hints(expected)
        return first(mismatch(value[name], hints[name], f"`{name}`") for name in hints if name in value)
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, types.UnionType):
        problems = [mismatch(value, argument, where) for argument in arguments]
        return problems[0] if all(problems) else ""
    if origin is Literal:
        allowed = ", ".join(map(repr, arguments))
        return "" if value in arguments else f"{where} should be one of {allowed}, and is {shown(value)}"
    if origin is list:
        if not isinstance(value, list):
            return f"{where} should be a list, and is {shown(value)}"
        return first(mismatch(item, arguments[0], f"an item of {where}") for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            return f"{where} should be an object, and is {shown(value)}"
        return first(mismatch(item, arguments[1], f"`{name}` in {where}") for name, item in value.items())
    if expected is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    else:
        fits = isinstance(value, expected or type(None)) and not (expected is int and isinstance(value, bool))
    names = {str: "a text", int: "a whole number", float: "a finite number", bool: "true or false"}
    return "" if fits else f"{where} should be {names.get(expected, 'null')}, and is {shown(value)}"


def first(problems: Iterable[str]) -> str:
    return next(filter(None, problems), "")


def one_line(text: str) -> str:
    """A message with what a file has as names in it, on one line."""
    return " ".join(text.split())


def shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
