"""Formats the values of report.json for report.html.

Every number becomes `<data value="exact">rounded</data>`: people read the rounded text, programs read the exact value.
Text from outside (class names, folders, notes) is escaped here or by the template.
"""

import math
from collections.abc import Mapping, Sequence

import markupsafe

from tff_vision import wording
from tff_vision.report import declared

MISSING = '—'
MAX_LISTED = 12
_LABELS = {
    'percentile_10': '10th percentile',
    'peak_rss_mb': 'peak memory (MB)',
    'examples_per_second': 'examples per second',
    'num_clients': 'training clients',
    'num_train_examples': 'training images',
    'num_test_examples': 'test images',
    'count': 'clients with test images',
    'without_examples': 'clients without test images',
    'gaining': 'share of clients that gain',
    'never_trained': 'clients without a model of their own',
}


def label(key: object, report: Mapping | None = None) -> str:
  """Returns a key of the report in words; of tasks that call a metric differently, those of the report's."""
  return _LABELS.get(key) or declared.named(str(key), report).label


def heading(key: object, report: Mapping | None = None) -> str:
  """Returns a key of the report in words, with a capital first."""
  words = label(key, report)
  return words[:1].upper() + words[1:]


def is_number(value: object) -> bool:
  """Returns whether `value` is a number; a Boolean is not."""
  return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
  """Returns whether `value` is a number that can be drawn."""
  return is_number(value) and math.isfinite(value)


def plain(value: object) -> str:
  """Returns `value` as people write it: three significant digits, thousands separated, None as a dash."""
  if value is None:
    return MISSING
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  if isinstance(value, int):
    return f'{value:,}'
  if isinstance(value, float):
    return _plain_float(value)
  if isinstance(value, Mapping):
    return ', '.join(f'{label(k)}: {plain(v)}' for k, v in value.items()) or MISSING
  if isinstance(value, Sequence) and not isinstance(value, str | bytes):
    listed = ', '.join(plain(item) for item in value[:MAX_LISTED])
    return f'{listed}, … ({len(value):,} values)' if len(value) > MAX_LISTED else listed or MISSING
  return str(value)


def upper(value: object) -> str:
  """Returns an upper bound, as a stated ε is: as `plain` does, but rounded to no less."""
  if not is_finite(value):
    return plain(value)
  return plain(float(wording.at_most(value, '.0f' if _is_large(value) else '.3g')))


def _plain_float(value: float) -> str:
  if math.isnan(value):
    return 'not a number'
  if math.isinf(value):
    return '∞' if value > 0 else '−∞'
  if _is_large(value):
    return f'{value:,.0f}'
  return f'{value:.3g}'


def _is_large(value):
  """Returns whether people read a number of this size without digits after the point."""
  return 1e3 <= abs(value) < 1e15


def percent(value: float) -> str:
  """Returns a share in [0, 1] in percent, with one decimal or, below 1 %, two digits; others as `plain` does."""
  if not 0 <= value <= 1:
    return plain(value)
  return f'{100 * value:.1f} %' if value >= 0.01 or not value else f'{100 * value:.2g} %'


def size(number_of_bytes: float) -> str:
  """Returns a number of bytes in MB (10^6 bytes), with three significant digits."""
  return f'{plain(number_of_bytes / 1e6)} MB'


def metric_text(metric: str | declared.Metric, value: object) -> str:
  """Returns a metric's value as text: shares in percent, others (loss, AUC, ...) as numbers; `metric` may be a name."""
  known = declared.named(metric) if isinstance(metric, str) else metric
  if wording.is_promise(known.name):
    return upper(value)
  return percent(value) if is_finite(value) and known.percent else plain(value)


def duration(seconds: float) -> str:
  """Returns a time span in a suitable unit."""
  if not math.isfinite(seconds) or seconds < 120:
    return f'{plain(float(seconds))} s'
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours} h {minutes} min' if hours else f'{minutes} min {rest} s'


def data(value: object, text: str | None = None) -> markupsafe.Markup:
  """Returns `text` (default: `plain(value)`) as HTML that also carries the exact value of a number."""
  text = plain(value) if text is None else text
  if not is_number(value):
    return markupsafe.escape(text)
  return markupsafe.Markup('<data value="{}">{}</data>').format(repr(value), text)


def named(name: str, value: object) -> markupsafe.Markup:
  """Returns a number of this name as HTML; a stated ε as the bound that it is."""
  return bound(value) if wording.is_promise(name) else data(value)


def bound(value: object) -> markupsafe.Markup:
  """Returns an upper bound as HTML."""
  return data(value, upper(value))


def metric(known: str | declared.Metric, value: object) -> markupsafe.Markup:
  """Returns a metric's value as HTML."""
  return data(value, metric_text(known, value))


def spread(known: str | declared.Metric, value: Mapping[str, float] | None) -> str:
  """Returns mean ± deviation of a metric over runs as text, and over how many if some lack it; for one, the number."""
  if value is None:
    return MISSING
  mean = metric_text(known, value['mean'])
  told = mean if value['runs'] == 1 else f'{mean} ± {metric_text(known, value["deviation"])}'
  lost = value.get('without', 0)
  return f'{told} ({value["runs"]:.0f} of {value["runs"] + lost:.0f} runs)' if lost else told


def exact(value: object) -> markupsafe.Markup:
  """Returns a configured value as HTML, unrounded, so that the text in the table can be used as a flag value."""
  return data(value, str(value)) if is_number(value) else data(value)
