"""Reading the config text of a checkpoint without running it."""

import ast
from typing import Any


def _literal(node: ast.AST) -> Any:
    """Value of a literal or of nested ``dict(...)`` calls, else None."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            return None
        return {item.arg: _literal(item.value) for item in node.keywords if item.arg}
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):  # not a literal, or one that cannot be a key
        return None


def read_config_text(text: Any) -> dict:
    """Read the config text in a checkpoint as data; nothing in it is run.

    Args:
        text: ``checkpoint['meta']['cfg']``, assignments as MMEngine dumps them.

    Returns:
        Variable name to value. What is neither a literal nor ``dict(...)`` is
        None; what is not a text, or not Python, gives an empty dict.
    """
    if not isinstance(text, str):
        return {}
    try:
        return {
            node.targets[0].id: _literal(node.value)
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
