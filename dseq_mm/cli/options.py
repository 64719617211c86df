"""Reading ``--cfg-options``: a value arrives as it was typed.

mmengine's ``DictAction`` drops blanks and makes a list of all that has a comma.
"""

import argparse
import ast
import re
from collections.abc import Sequence
from typing import Any

_OPEN, _CLOSE = '[({', '])}'
_KEY = re.compile(r'[^\s.=]+(\.[^\s.=]+)*')
_WORDS = {
    **dict.fromkeys(('true', 'True', 'TRUE'), True),
    **dict.fromkeys(('false', 'False', 'FALSE'), False),
    **dict.fromkeys(('none', 'None', 'null'), None),
}
#: Last part of keys whose value is a name or a path, even where it looks like a number.
_TEXTS = re.compile(r'(.*_)?(root|prefix|dir|file|path|name|suffix)')
#: Keys that know the word ``none``.
_NONE_IS_A_WORD = ('launcher', 'reduction')


class OptionsAction(argparse.Action):
    """Collects ``KEY=VALUE`` arguments in a dict; given twice, the option adds up."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Add what was given.

        Args:
            parser: The parser.
            namespace: Where the dict is.
            values: The arguments.
            option_string: Name of the option.

        Raises:
            argparse.ArgumentError: If one cannot be read.
        """
        given = dict(getattr(namespace, self.dest) or {})
        try:
            setattr(namespace, self.dest, read_options(values, given))
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from None


def add_options_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options`` to a parser.

    Args:
        parser: Where it goes.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the config, as in train_dataloader.batch_size=64, '
        '"KEY=[a, b]" or "data_root=/my data"; lists stand in brackets',
    )


def read_options(
    texts: Sequence[str], given: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Read ``KEY=VALUE`` texts.

    Args:
        texts: The texts.
        given: Options that were read before.

    Returns:
        Dotted key to value, those given before included.

    Raises:
        ValueError: If one is not of that form, or sets what another one sets.
    """
    options = dict(given or {})
    for text in texts:
        key, equals, value = text.partition('=')
        if not equals or not _KEY.fullmatch(key):
            raise ValueError(
                f'{text!r} is no KEY=VALUE, such as train_cfg.max_epochs=5'
            )
        for other in options:
            if other == key:
                raise ValueError(f'{key} is given twice')
            if f'{other}.'.startswith(f'{key}.') or f'{key}.'.startswith(f'{other}.'):
                raise ValueError(f'{other} and {key} set the same: give one of them')
        try:
            options[key] = read_value(value, key.rpartition('.')[2])
        except ValueError as error:
            raise ValueError(
                f'{text}: {error}. A text with such characters stands in quotes of '
                f'its own: "{key}=\'TEXT\'"'
            ) from None
    return options


def read_value(text: str, name: str = '') -> Any:
    """Read a value: a number, true, false, None, a list, a tuple, a dict or a text.

    Args:
        text: What was typed, such as ``1e-3``, ``[a, 'b c']``, ``1,2``,
            ``{'type': 'SGD'}``, ``"quoted"`` or ``any other text, as it is``.
        name: Last part of the key: what is named like a file or folder is a text.

    Returns:
        The value. A text is left as it is, with its blanks and commas; commas make a
        list without brackets if all parts are numbers and the like.

    Raises:
        ValueError: If brackets or quotes do not match.
    """
    bare = text.strip()
    if bare[:1] in ('"', "'"):
        return _literal(bare, 'the quotes do not match')
    if bare[:1] == '{' or re.match(r'dict\s*\(', bare):
        return _literal(bare, "that is no dict, such as {'type': 'SGD', 'lr': 1}")
    if bare in _WORDS and not (bare == 'none' and name in _NONE_IS_A_WORD):
        return _WORDS[bare]
    if bare[:1] in ('[', '(') and len(_split(bare)) == 1:
        return _read_brackets(bare)
    if _TEXTS.fullmatch(name):
        return text
    if _is_number(bare):
        return _number(bare)
    if ',' in bare:
        parts = _split(bare) if bare[:1] in _OPEN else bare.split(',')
        if not parts[-1].strip():  # "8," is a list of one
            parts.pop()
        values = [read_value(part) for part in parts if part.strip()]
        if len(values) == len(parts) and not any(isinstance(v, str) for v in values):
            return values
        if bare[:1] in _OPEN:
            raise ValueError('something follows the closing bracket')
    return text


def _read_brackets(bare: str) -> list | tuple:
    """A list or tuple, whose items may be bare, quoted or nested."""
    if len(bare) < 2 or bare[-1] != _CLOSE[_OPEN.index(bare[0])]:
        raise ValueError('the brackets do not match')
    items = _split(bare[1:-1])
    if not items[-1].strip():
        items.pop()
    if any(not item.strip() for item in items):
        raise ValueError('there is nothing between two commas')
    values = [read_value(item.strip()) for item in items]
    return values if bare[0] == '[' else tuple(values)


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets and quotes."""
    parts, stack, quote, start = [], [], '', 0
    for place, char in enumerate(text):
        if quote:
            quote = '' if char == quote and text[place - 1] != '\\' else quote
        elif char in '"\'' and not text[start:place].strip(' [({'):
            quote = char  # at the begin of an item: elsewhere it is an apostrophe
        elif char in _OPEN:
            stack.append(char)
        elif char in _CLOSE:
            if not stack or stack.pop() != _OPEN[_CLOSE.index(char)]:
                raise ValueError('the brackets do not match')
        elif char == ',' and not stack:
            parts.append(text[start:place])
            start = place + 1
    if stack or quote:
        raise ValueError(f'the {"quotes" if quote else "brackets"} do not match')
    return [*parts, text[start:]]


def _literal(text: str, complaint: str) -> Any:
    """What Python reads in it; ``dict(a=1)`` is one, too."""
    try:
        tree = ast.parse(text, mode='eval')
        return ast.literal_eval(_DictCalls().visit(tree))
    except (SyntaxError, ValueError, TypeError):
        raise ValueError(complaint) from None


class _DictCalls(ast.NodeTransformer):
    """Make literals of ``dict(...)``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Make a literal of one call; others are left, and refused later."""
        self.generic_visit(node)
        named = all(keyword.arg for keyword in node.keywords)
        if getattr(node.func, 'id', '') != 'dict' or node.args or not named:
            return node  # which is refused then
        return ast.Dict(
            keys=[ast.Constant(keyword.arg) for keyword in node.keywords],
            values=[keyword.value for keyword in node.keywords],
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return '_' not in text


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
