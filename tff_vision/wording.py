"""Numbers as people read them, that say no more than is true: counts with their nouns, and bounds."""

import decimal
import math
import re

# A bound that is a whole number but for the last bits of a double is that number.
_PRECISION = 12
_MOST_DIGITS = 400  # More than the largest double has before the point, with those after it.
# How keys of a report and their labels name a stated epsilon or delta.
_PROMISE = re.compile('(.*: )?(ε|δ|delta|(smallest[_ ])?epsilon([_ ]rdp)?)')


def counted(number: int, noun: str) -> str:
  """Returns a number with its noun: `1 client`, `12,000 clients`, `2 classes`; `noun` is a singular of that kind."""
  return f'{number:,} {noun}' + ('' if number == 1 else 'es' if noun.endswith('s') else 's')


def is_promise(name: str) -> bool:
  """Returns whether a number of this name, a key of a report or its label, is a stated epsilon or delta: a bound."""
  return _PROMISE.fullmatch(name) is not None


def at_most(bound: float, form: str = '.3f') -> str:
  """Returns an upper bound, as a stated epsilon is: rounded, but never to less.

  Args:
    form: `.Nf`, digits after the point, or `.Ng`, significant digits.
  """
  return _rounded(bound, form, decimal.ROUND_CEILING)


def at_least(bound: float, form: str = '.3f') -> str:
  """Returns a lower bound, as an audit gives: rounded, but never to more; `form` as for `at_most`."""
  return _rounded(bound, form, decimal.ROUND_FLOOR)


def _rounded(bound, form, rounding):
  if not math.isfinite(bound) or not bound:
    return format(bound, form)
  number = decimal.Decimal(f'{bound:.{_PRECISION}g}')
  digits = int(form[1:-1])
  if form[-1] == 'g':
    return format(float(decimal.Context(prec=digits, rounding=rounding).create_decimal(number)), form)
  exponent = decimal.Decimal(1).scaleb(-digits)
  return format(number.quantize(exponent, rounding=rounding, context=decimal.Context(prec=_MOST_DIGITS)), form)
