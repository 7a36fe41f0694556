"""YAML as people write it: read safely, nothing given twice, and "no" is a word."""

from __future__ import annotations

import re
from typing import Any

import yaml

SWITCHES = {"yes": True, "on": True, "no": False, "off": False}
"""What these words say where a switch is wanted: elsewhere they are words."""
MERGE = "tag:yaml.org,2002:merge"
BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key that is given twice is an error, and only `true` and `false` are no words (YAML 1.2).

    `label_names: [no, yes]` is two names.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base has it
        first: [(tag, pattern) for tag, pattern in found if tag != BOOLEAN]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:  # `<<: *name`, whose keys may be given again
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(BOOLEAN, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_yaml(text: str) -> Any:
    """The values of a document.

    Raises:
        yaml.YAMLError: it is not valid.
    """
    return yaml.load(text, Loader=_Loader)
