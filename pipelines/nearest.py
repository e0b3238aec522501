"""Suggestions for misspelt names of flags and pipelines."""

import difflib
import re
from collections.abc import Collection

_MOST = 3


def names(wanted: str, known: Collection[str]) -> list[str]:
  """Returns the known names that are nearest to a name that does not exist, the nearest first.

  A name that holds all words of the wanted one is near, such as `client_learning_rate` for `learning-rate`.
  """
  wanted = wanted.casefold().replace('-', '_')
  words = set(wanted.split('_')) - {''}
  whole = sorted((name for name in sorted(known) if words and words <= set(name.split('_'))), key=len)
  return list(dict.fromkeys([*(name for name in known if name == wanted), *whole,
                             *difflib.get_close_matches(wanted, sorted(known), _MOST, 0.75)]))[:_MOST]


def question(found: Collection[str], prefix: str = '') -> str:
  """Returns a question that names them, with a space before it; empty if there are none."""
  return f' Did you mean {" or ".join(prefix + name for name in found)}?' if found else ''


def of_flag(error: Exception, known: Collection[str]) -> str:
  """Returns the sentence for a flag that does not exist, from absl's error; `known` are the flags."""
  name = re.sub(r'=.*', '', str(getattr(error, 'flagname', '')), flags=re.DOTALL).lstrip('-')
  if name.strip() in known:  # A line of a flag file, or a quoted argument.
    return f'there is a space beside --{name.strip()}: write --{name.strip()}=VALUE without spaces.'
  return f'there is no flag --{name}.{question(names(name, known), "--")} See --help.'
