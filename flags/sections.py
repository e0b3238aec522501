"""A config section from the flags of the same names."""

import dataclasses
import os
from typing import TypeVar

from absl import flags

Section = TypeVar('Section')
# Fields that name a file or folder of the experiment itself.
_PATHS = {'data_dir', 'initial_model'}


def read(base: Section) -> Section:
  """Returns `base` with the value of every flag that was given, on the command line or in a flagfile.

  Args:
    base: A config section; every field has a flag of its name.

  Raises:
    ValueError: A value is illegal.
  """
  found = {field.name: flags.FLAGS[field.name] for field in dataclasses.fields(base)}
  given = {name: flag.value for name, flag in found.items() if flag.present}
  if given.get('imports'):
    given['imports'] = [os.path.abspath(os.path.expanduser(name)) if name.endswith('.py') else name
                        for name in given['imports']]
  for name in _PATHS & set(given):  # A run is continued and evaluated from any working directory.
    if given[name] is not None:
      given[name] = os.path.abspath(os.path.expanduser(given[name]))
  return dataclasses.replace(base, **{
      name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
