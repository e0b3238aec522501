"""What a site's owner sees and decides while a plan runs: what ran, what left, what it cost; pausing and leaving.

Everything is read from the signed approval and from the audit log, whose chain is checked; nothing is asked of anybody.
"""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision.runtime.worker.guard import audit, rules

_SHOWN = 5
PAUSED, LEFT = 'paused', 'left'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status:
  """The state of a site.

  Attributes:
    site: Its name.
    begun: For each activity: how many times it began, and how many times it may.
    bytes_out: The bytes that have left; most_bytes: the most that may.
    epsilon: What this approval has cost the site's examples so far, at most; None: nothing is promised.
    most_epsilon: The most that it may cost them; None likewise.
    other_rounds: The rounds of training that began under other approvals in the log; their cost is not in `epsilon`.
    refused: The latest calls that did not pass: (time, call, reason).
    refusals: How many did not pass.
    last: The time of the last call; None: there was none.
    held: `PAUSED` or `LEFT`; None: the site takes part.
    expires: Seconds since the epoch, after which nothing passes.
    started: Whether a worker was started with this approval and this log; otherwise the numbers say nothing.
  """
  site: str
  begun: Mapping[str, tuple[int, int]]
  bytes_out: int
  most_bytes: int
  epsilon: float | None
  most_epsilon: float | None
  other_rounds: int
  refused: Sequence[tuple[str, str, str]]
  refusals: int
  last: str | None
  held: str | None
  expires: float
  started: bool

  def to_json(self) -> dict[str, Any]:
    """Returns the status as JSON types."""
    return dataclasses.asdict(self)


def of(ruled: rules.Rules, log: pathlib.Path) -> Status:
  """Returns the status of a site.

  Args:
    ruled: The rules of its approval.
    log: Its audit log; a missing one counts as empty.

  Raises:
    ValueError: The log was changed.
  """
  begun, sent, approval = collections.Counter(), 0, None
  refused, last, other_rounds, started = [], None, 0, False
  training = {one.name for one in ruled.activities if one.trains}
  for entry in audit.read(log):
    if entry['what'] == 'approval':
      approval = entry['approval']
      started |= approval == ruled.digest
      continue
    if approval != ruled.digest:  # Of an earlier approval.
      other_rounds += entry['what'] == 'begins' and entry['activity'] in training
      continue
    last = entry['time']
    if entry['what'] == 'begins':
      begun[entry['activity']] += 1
    elif entry['what'] == 'Compute':
      sent += entry.get('bytes_out', 0)
    if 'refused' in entry:
      refused.append((entry['time'], entry['what'], entry['refused']))
  rounds = sum(begun[name] for name in training)
  return Status(
      site=ruled.site, begun={one.name: (begun[one.name], one.most) for one in ruled.activities}, bytes_out=sent,
      most_bytes=ruled.most_bytes, epsilon=ruled.spent(rounds),
      most_epsilon=ruled.epsilon[-1][1] if ruled.epsilon else None, other_rounds=other_rounds,
      refused=refused[-_SHOWN:], refusals=len(refused), last=last, held=held(log), expires=ruled.expires,
      started=started)


def held(log: pathlib.Path) -> str | None:
  """Returns `PAUSED` or `LEFT` if the owner of the site with this audit log has said so, else None."""
  try:
    found = _hold_file(log).read_text()
  except FileNotFoundError:
    return None
  except OSError:
    return PAUSED
  # Whatever else stands there, the owner wanted something held.
  return LEFT if found.strip() == json.dumps(LEFT) else PAUSED


def hold(log: pathlib.Path, how: str | None) -> None:
  """Pauses (`PAUSED`), leaves (`LEFT`) or goes on (None); it takes effect before the next round.

  Raises:
    ValueError: The file beside the log cannot be written.
  """
  file = _hold_file(log)
  try:
    if how is None:
      file.unlink(missing_ok=True)
    else:
      file.write_text(json.dumps(how) + '\n')
  except OSError as error:
    raise ValueError(f'{file} cannot be written: {error.strerror}.') from None


def _hold_file(log):
  """Returns the file beside the log itself: the worker and its owner may name it by different links."""
  return (found := log.resolve()).with_name(found.name + '.hold')
