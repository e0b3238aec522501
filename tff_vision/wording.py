"""Numbers as people read them, that say no more than is true: counts with their nouns, and bounds."""

import decimal
import math

# A bound that is a whole number but for the last bits of a double is that number.
_PRECISION = 12


def counted(number: int, noun: str) -> str:
  """Returns a number with its noun: `1 client`, `12,000 clients`; `noun` is a singular that takes an s."""
  return f'{number:,} {noun}{"" if number == 1 else "s"}'


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
  return format(number.quantize(decimal.Decimal(1).scaleb(-digits), rounding=rounding), form)
