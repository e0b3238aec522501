"""Messages of the protocols that sites play themselves: canonical JSON with bytes in it, of limited size.

A message has texts, whole numbers, truth values, bytes, lists and objects. There is one way to write it, and what was
written in another way is refused, so that whoever signs a message and whoever reads it mean the same.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

# The method of a guard, beside TFF's own.
SERVICE, METHOD = 'tff_vision.SiteProtocols', 'Answer'
# The protocol of the one message that every such guard answers: who it is, and what it plays.
HELLO = 'hello'
MOST_BYTES = 32 << 20
# How the error of a guard begins that has to be answered by a round run again.
BEGIN_AGAIN = 'begin again: '
# An object with this one name stands for bytes.
_BYTES = '$'


def encode(content: Any) -> bytes:
  """Returns the message.

  Raises:
    ValueError: It has something else in it than the module says, or is too large.
  """
  try:
    found = json.dumps(_plain(content), sort_keys=True, separators=(',', ':'), ensure_ascii=True).encode()
  except RecursionError:
    raise ValueError('a message is nested too deep.') from None
  if len(found) > MOST_BYTES:
    raise ValueError(f'a message of {len(found):,} bytes; {MOST_BYTES:,} are allowed.')
  return found


def decode(raw: bytes) -> Any:
  """Returns what `encode` was given; tuples have become lists.

  Raises:
    ValueError: It is no such message.
  """
  if len(raw) > MOST_BYTES:
    raise ValueError(f'a message of {len(raw):,} bytes; {MOST_BYTES:,} are allowed.')
  try:
    content = _with_bytes(json.loads(raw))
  except (ValueError, RecursionError):
    raise ValueError('a message cannot be read.') from None
  if encode(content) != raw:
    raise ValueError('a message is written in another way than it reads.')
  return content


def part(content: Any, name: str, kind: type, what: str = 'a message') -> Any:
  """Returns a value of a decoded object.

  Raises:
    ValueError: It is missing, or of another type.
  """
  if not isinstance(content, Mapping) or name not in content:
    raise ValueError(f'{what} lacks {name!r}.')
  found = content[name]
  if not isinstance(found, kind) or isinstance(found, bool) and kind is not bool:
    raise ValueError(f'{what}: {name!r} is not of the type that it must have.')
  return found


def _plain(content):
  if isinstance(content, bytes):
    return {_BYTES: base64.b64encode(content).decode()}
  if isinstance(content, Mapping):
    if any(not isinstance(name, str) or name == _BYTES for name in content):
      raise ValueError(f'a message has a name that is no text, or {_BYTES!r}.')
    return {name: _plain(value) for name, value in content.items()}
  if isinstance(content, (list, tuple)):
    return [_plain(value) for value in content]
  if content is None or isinstance(content, (str, int)):
    return content
  raise ValueError(f'a message has a value of type {type(content).__name__}.')


def _with_bytes(content):
  if isinstance(content, dict):
    if set(content) == {_BYTES}:
      return base64.b64decode(content[_BYTES].encode() if isinstance(content[_BYTES], str) else b'?', validate=True)
    return {name: _with_bytes(value) for name, value in content.items()}
  return [_with_bytes(value) for value in content] if isinstance(content, list) else content
