"""Loads user objects in place of built-in names.

A field that chooses a model, an algorithm, a loss, an aggregator, a data set or an optimizer takes a built-in name, an
object, or a reference `package.module:attribute` to one. A reference is text, so a flag can hold it, and any pipeline
can read a finished run again; an object can be used from Python only.
"""

import ast
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tff_vision import description

OWN = description.OWN
describe = description.describe
digests = description.digests
name_of = description.name_of
_REFERENCE = re.compile(r'[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*')

_ERROR = re.compile(r'\w*(Error|Exception): ')


def is_reference(choice: Any) -> bool:
  """Returns whether `choice` is text of the form `package.module:attribute`."""
  return isinstance(choice, str) and _REFERENCE.fullmatch(choice) is not None


def is_own(choice: Any, choices: Collection[str]) -> bool:
  """Returns whether `choice` is an object or a reference, and none of the built-in names.

  For built-in names with a colon, such as `medmnist:path`, the part before the colon is reserved: `medmnist:paht` is a
  spelling mistake, not a module.
  """
  if not isinstance(choice, str):
    return True
  families = {name.partition(':')[0] for name in choices if ':' in name}
  return choice not in choices and is_reference(choice) and choice.partition(':')[0] not in families


def value_of(choice: Any, registry: Mapping[str, Any], *, field: str) -> Any:
  """Returns the value of a registry name or of a reference; an object is returned unchanged.

  Raises:
    ValueError: A reference cannot be resolved; the message names `field`.
  """
  if not isinstance(choice, str):
    return choice
  return registry[choice] if choice in registry else load(choice, field=field)


def load(reference: str, *, field: str) -> Any:
  """Imports `package.module:attribute`; also searches the working directory.

  Raises:
    ValueError: There is no such module or attribute, or the module cannot be imported.
  """
  module_name, _, path = reference.partition(':')
  value = import_module(module_name, f'{field}={reference}')
  for part in path.split('.'):
    if not hasattr(value, part):
      raise ValueError(f'{field}={reference}: {module_name} has no attribute {path!r}.')
    value = getattr(value, part)
  return value


def import_module(name: str, setting: str) -> Any:
  """Imports a module; also searches the working directory. The error message names `setting`.

  Raises:
    ValueError: The module does not exist, or raises an error of its own.
  """
  if os.getcwd() not in sys.path and '' not in sys.path:
    sys.path.append(os.getcwd())
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    wanted = '' if f'{name}.'.startswith(f'{error.name}.') else f'{name} imports {error.name}, but '
    raise ValueError(f'{setting}: {wanted}'
                     f'there is no module {error.name!r} on the path or in {os.getcwd()}.') from error
  except (Exception, SystemExit) as error:
    raise ValueError(f'{setting}: importing {name} fails with {type(error).__name__}: {error}') from error


def is_installed(package: str) -> bool:
  """Returns whether a package can be imported; nothing is.

  Python also finds a mere folder of that name in the working directory, such as the `wandb` that Weights & Biases
  writes: that is no package, and has no origin.
  """
  found = importlib.util.find_spec(package)
  return found is not None and found.origin is not None


def options(pairs: Sequence[str], *, field: str) -> dict[str, Any]:
  """Returns keyword arguments from texts `key=value`; a value is parsed as a Python literal if it is one, else as text.

  Raises:
    ValueError: A text has another form, or a key occurs twice.
  """
  found: dict[str, Any] = {}
  for pair in pairs:
    key, equals, text = pair.partition('=')
    if not equals or not key.isidentifier():
      raise ValueError(f'{field} must be key=value, found {pair!r}.')
    if key in found:
      raise ValueError(f'{field} names {key} twice.')
    try:
      found[key] = ast.literal_eval(text)
    except (ValueError, SyntaxError):
      found[key] = text
  return found


def check_call(function: Any, given: Mapping[str, Any], *, setting: str, positional: Sequence[str] = ()) -> None:
  """Raises an error if `function` cannot be called with these positional arguments and options.

  Args:
    function: The user's function.
    given: Options by name.
    setting: The setting that the error message names.
    positional: Descriptions of the positional arguments, for the error message.

  Raises:
    ValueError: The message says why the call is not possible.
  """
  try:
    signature = inspect.signature(function)
  except (TypeError, ValueError):  # Some built-in functions have no signature.
    return
  try:
    signature.bind(*positional, **given)
  except TypeError as error:
    arguments = ', '.join([*positional, *(f'{name}={value!r}' for name, value in given.items())])
    raise ValueError(f'{setting} cannot be called as ({arguments}): {error}.') from None


def reason(error: BaseException) -> str:
  """Returns the kind and the first line of an error in a user's code, without the way to it that AutoGraph writes."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  said = next((line for line in reversed(lines) if _ERROR.match(line)), None)
  return said or f'{type(error).__name__}: {lines[0] if lines else "it says nothing"}'


def shown(choice: Any) -> str:
  """Returns a name or a reference unchanged, or the name of an object, for use in sentences."""
  return choice if isinstance(choice, str) else name_of(choice)
