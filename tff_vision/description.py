"""What config.json says of an object: enough to know it again, and nothing that must not be read there.

Plain values are written unchanged. An object is described by its class, its attributes and a digest of its code; a
function also by the values that it captures. Arrays and long values are described by their size alone. `digests` gives
their digests, which a run keeps under a key of its own: with a digest, somebody who has a list of candidates could tell
which of them it was. Values that look like passwords or keys are left out. Imports only the standard library.
"""

import dataclasses
import decimal
import dis
import enum
import functools
import hashlib
import inspect
import json
import math
import pathlib
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any

OWN = 'own'  # The key of the description of an object.
_LONGEST_TEXT = 200
_MOST_ELEMENTS = 32
_DEEPEST = 6
_SECRET_NAME = re.compile(
    r'(^|[ _(])(secret|password|passwd|passphrase|token|credential|api_?key|access_?key|private_?key)s?($|[_)])',
    re.IGNORECASE)
_SECRET_TEXT = re.compile(r'-----BEGIN |://[^/\s:]*:[^/\s@]+@|\b(sk|gh[pousr]|xox[abp]|AKIA)[-_]?[A-Za-z0-9]{16,}')
_COUNTER = re.compile(r'_\d+(?=\W)')
_WITHHELD = {'withheld': 'looks like a secret'}
_BY_REPR = (complex, range, slice, decimal.Decimal)  # Have no attributes that say what they are.
_DATA = (bool, int, float, str, bytes, tuple, list, set, frozenset, Mapping, enum.Enum, pathlib.PurePath,
         functools.partial, types.SimpleNamespace, *_BY_REPR)
_LIBRARIES = ('builtins', 'tff_vision', 'tensorflow', 'tensorflow_federated', 'keras', 'numpy', 'functools', 'abc',
              'typing')


def describe(value: Any) -> Any:
  """Returns the description of a value for config.json, as JSON; equal objects in two processes give the same.

  An object may define its own description with a method `describe() -> dict`.
  """
  return _Walk().of(value, '')


def digests(objects: Mapping[str, Any]) -> dict[str, str]:
  """Returns the digests of the values that `describe` describes by size alone: path of the value -> digest.

  Args:
    objects: Named objects; the names are the first part of the paths.
  """
  walk = _Walk()
  for name, value in objects.items():
    walk.of(value, name)
  return walk.digests


def name_of(value: Any) -> str:
  """Returns `module.name` of a function or class, or of an object's class."""
  named = value if hasattr(value, '__qualname__') else type(value)
  return f'{named.__module__}.{named.__qualname__}'


class _Walk:
  """Walks through an object; `digests` are those of values that are described by size alone, keyed by their path."""

  def __init__(self):
    self.digests = {}
    self._above = []

  def of(self, value, path):
    """Returns the description of the value at `path`."""
    inside = bool(self._above)  # Inside an object; fields of a config are legal without changes.
    if value is None or isinstance(value, (bool, int)):
      return value
    if isinstance(value, float):
      return value if math.isfinite(value) or not inside else repr(value)
    if isinstance(value, str):
      return self._text(value, path) if inside else value
    if isinstance(value, (tuple, list, set, frozenset)):
      parts = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
      return self._shortened([self.of(part, f'{path}[{i}]') for i, part in enumerate(parts)], path, inside)
    if isinstance(value, Mapping):
      return self._shortened({str(key): self._held(str(key), part, f'{path}.{key}') for key, part in value.items()},
                             path, inside)
    if isinstance(value, (bytes, bytearray)):
      return self._sized(f'{len(value)} bytes', bytes(value), path)
    if isinstance(value, (enum.Enum, pathlib.PurePath)) or type(value).__name__ in ('DType', 'dtype'):
      return str(value)
    if isinstance(value, _BY_REPR):
      return repr(value)
    if hasattr(type(value), 'is_assignable_from'):  # A TFF type; its attributes hold a hash of this process.
      return self._text(str(value), path)
    if hasattr(value, 'dtype') and hasattr(value, 'shape') and not isinstance(value, type):
      return self._array(value, path)
    return self._object(value, path)

  def _text(self, value, path):
    if _SECRET_TEXT.search(value):
      return _WITHHELD
    return value if len(value) <= _LONGEST_TEXT else self._sized(f'{len(value)} characters', value.encode(), path)

  def _shortened(self, described, path, inside):
    if not inside or len(described) <= _MOST_ELEMENTS:
      return described
    return self._sized(f'{len(described)} elements', json.dumps(described, sort_keys=True).encode(), path)

  def _sized(self, size, content, path):
    self.digests[path] = hashlib.sha256(content).hexdigest()
    return {'size': size}

  def _array(self, value, path):
    shape, dtype = [None if side is None else int(side) for side in value.shape], getattr(value.dtype, 'name', '')
    try:
      content = value if hasattr(value, 'tobytes') else value.numpy()
      if not shape:
        return self.of(content.item(), path)
      content = content.tobytes()
    except (AttributeError, NotImplementedError, ValueError):  # A tensor in a graph has no value.
      return {'array': f'{dtype}{shape}'}
    if not hasattr(value, 'assign'):  # The value of a variable is not a setting.
      self.digests[path] = hashlib.sha256(content).hexdigest()
    return {'array': f'{dtype}{shape}'}

  def _object(self, value, path):
    if any(value is above for above in self._above) or len(self._above) >= _DEEPEST:
      return {OWN: name_of(value)}
    self._above.append(value)
    try:
      if callable(getattr(value, 'describe', None)) and not isinstance(value, type):
        if isinstance(said := value.describe(), Mapping):  # `describe` has another meaning elsewhere, as in pandas.
          return {OWN: name_of(value), **self._as_said(said, path)}
      if isinstance(value, types.ModuleType):
        return {OWN: value.__name__}
      if type(value).__module__.partition('.')[0] == 'logging':  # Holds every logger of the process, and changes.
        return {OWN: name_of(value)}
      held = {name: self._held(name, part, f'{path}.{name}') for name, part in _parts_of(value)}
      return {OWN: name_of(value), 'parameters': held, 'source': _source_digest(value)}
    finally:
      self._above.pop()

  def _as_said(self, said, path):
    """Returns an object's own description: lists and texts of any length, but no arrays."""
    above, self._above = self._above, []
    try:
      return {str(key): self.of(part, f'{path}.{key}') for key, part in said.items()}
    finally:
      self._above = above

  def _held(self, name, value, path):
    if _SECRET_NAME.search(name) and _holds_text(value):
      return _WITHHELD
    return self.of(value, path)


def _holds_text(value):
  """Returns whether a value is text or bytes, or a collection of some."""
  if isinstance(value, Mapping):
    return any(map(_holds_text, value.values()))
  if isinstance(value, (tuple, list, set, frozenset)):
    return any(map(_holds_text, value))
  return isinstance(value, (str, bytes))


def _parts_of(value) -> Iterator[tuple[str, Any]]:
  """Yields the named contents of an object or a function, and the values that the user's code in it reads."""
  if isinstance(value, functools.partial):
    yield from {'function': value.func, 'arguments': value.args, 'keywords': value.keywords}.items()
  elif inspect.ismethod(value):
    yield from {'object': value.__self__, 'function': value.__func__}.items()
  elif inspect.isfunction(value):
    yield from _captured(value)
    yield from _read_globals(value)
  elif isinstance(value, type):
    pass
  elif inspect.isfunction(getattr(value, '__wrapped__', None)):  # Decorated, as by `functools.lru_cache`.
    yield 'function', value.__wrapped__
  elif inspect.isroutine(value):
    pass
  elif hasattr(type(value), 'python_function'):  # A `tf.function`; its other attributes hold its traces.
    yield 'function', value.python_function
  elif hasattr(type(value), 'type_signature'):  # A TFF computation.
    yield 'type', str(value.type_signature)[:_LONGEST_TEXT]
    yield 'computation', _code_of_computation(value)
  elif hasattr(type(value), 'trainable_weights'):  # A Keras layer or model; its other attributes grow with calls.
    yield 'weights', value.get_weights() if value.built else []
  elif dataclasses.is_dataclass(value):
    yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
  else:
    yield from getattr(value, '__dict__', {}).items()
    for kind in type(value).__mro__:
      slots = vars(kind).get('__slots__', ())
      yield from ((name, getattr(value, name)) for name in ((slots,) if isinstance(slots, str) else slots)
                  if name not in ('__dict__', '__weakref__') and hasattr(value, name))
  kind = value if isinstance(value, type) else type(value)
  if not _is_the_users(kind) and '<locals>' in kind.__qualname__:  # TFF's clipping factory has no attributes.
    yield from ((f'{name}({held})', kept) for name, part in vars(kind).items() for method in _functions_of(part)
                for held, kept in _captured(method))
  for base in kind.__mro__ if _is_the_users(kind) else ():
    if base is not kind and _is_the_users(base):
      yield f'base {base.__qualname__}', base
    for name, part in vars(base).items():
      for method in _functions_of(part):
        yield from _read_globals(method)
        if '<locals>' in method.__qualname__:  # Other methods are fully described by their source.
          yield from ((f'{method.__name__}({name})', part) for name, part in _captured(method))
      # Not all values are in the source: some are computed, or assigned later, and a typed-in class has no source.
      if _is_the_users(base) and _is_setting(part, base.__module__) and not name.startswith('__'):
        yield f'class {name}', part


def _code_of_computation(value):
  """Returns what a TFF computation computes, its constants included, as bytes that are the same in every process.

  TensorFlow numbers the names in graphs by what the process traced before, and orders functions by their names.
  """
  from google.protobuf import text_format  # type: ignore[import-untyped]  # TensorFlow, which made it, has it.
  text = _COUNTER.sub('', text_format.MessageToString(type(value).get_proto(value)))
  return '\n'.join(sorted(text.splitlines())).encode()


def _functions_of(part):
  """Yields the functions of a class's attribute: of a method, also a static or class method, or of a property."""
  inner = (part, *(getattr(part, name, None) for name in ('__func__', 'fget', 'fset', 'func', '__wrapped__')))
  yield from filter(inspect.isfunction, inner)


def _is_setting(value, module):
  """Returns whether a constant of a module, or of a class in it, is data or an object of known kind.

  Other objects, such as loggers and parsed flags, change between runs of the same experiment.
  """
  if hasattr(value, '__qualname__') or isinstance(value, types.ModuleType):
    return False
  known = type(value).__module__
  return (isinstance(value, _DATA) or known == module
          or known.partition('.')[0] in ('tff_vision', 'tensorflow', 'tensorflow_federated', 'keras', 'numpy'))


def _captured(function):
  """Yields the values that a function gets from the surrounding code: defaults and captured variables."""
  code = function.__code__
  positional = code.co_varnames[:code.co_argcount]
  defaults = function.__defaults__ or ()
  yield from zip(positional[len(positional) - len(defaults):], defaults, strict=True)
  yield from (function.__kwdefaults__ or {}).items()
  for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
    try:
      if name != '__class__':
        yield name, cell.cell_contents
    except ValueError:  # The cell is still empty.
      continue


def _read_globals(function):
  """Yields the constants, functions and classes of a function's own module that the function reads."""
  module = function.__module__
  for name in sorted(_globals_in(function.__code__)):
    found = function.__globals__.get(name)
    beside = hasattr(found, '__qualname__') and found.__module__ == module
    # Tables in libraries depend on what else was imported.
    constant = _is_setting(found, module) if _is_the_users(function) else isinstance(found, (bool, int, float, str))
    if (beside or constant) and not name.startswith('__'):
      yield f'global {name}', found


def _globals_in(code):
  """Returns the global names that a code object, and the functions defined in it, read."""
  inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
  read = {step.argval for step in dis.get_instructions(code) if step.opname in ('LOAD_GLOBAL', 'LOAD_NAME')}
  return read.union(*map(_globals_in, inner))


def _is_the_users(kind):
  return kind.__module__.partition('.')[0] not in _LIBRARIES


def _source_digest(value):
  """Returns a digest of the code of a function, or of a class; None if it has none."""
  kind = value if hasattr(value, '__qualname__') else type(value)
  try:
    text: bytes | None = inspect.getsource(kind).encode()
  except (OSError, TypeError):  # Code from an interpreter, or a class from a notebook.
    codes = [kind.__code__] if inspect.isfunction(kind) else [
        method.__code__ for _, part in sorted(vars(kind).items(), key=lambda item: item[0])
        for method in _functions_of(part)] if isinstance(kind, type) else []
    text = repr(list(map(_code, codes))).encode() if codes else None
  return None if text is None else hashlib.sha256(text).hexdigest()[:16]


def _code(code):
  constants = [_code(constant) if isinstance(constant, types.CodeType)
               else repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
               for constant in code.co_consts]
  return code.co_code.hex(), code.co_names, code.co_varnames, constants
