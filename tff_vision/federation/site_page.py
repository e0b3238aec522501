"""A site's page: what ran, what left, what it cost, what was refused; as text and as HTML."""

import datetime
import os
from collections.abc import Iterator

from tff_vision import wording
from tff_vision.federation import site_status
from tff_vision.report import number_format as numbers
from tff_vision.report import pages

_NOT_STARTED = ' No worker was started with this approval and this audit log, so that the log tells nothing of it.'


def lines(found: site_status.Status) -> Iterator[str]:
  """Yields the status in plain words."""
  state = {None: 'takes part', site_status.PAUSED: 'has paused', site_status.LEFT: 'has left'}[found.held]
  until = datetime.datetime.fromtimestamp(found.expires, datetime.UTC)
  yield (f'site {found.site} {state}; last call {found.last or "never"}; the approval holds until {until:%Y-%m-%d}.'
         f'{"" if found.started else _NOT_STARTED}')
  for name, (begun, most) in found.begun.items():
    yield f'{name}: {begun} of at most {most}'
  yield f'{numbers.size(found.bytes_out)} have left, of at most {numbers.size(found.most_bytes)}.'
  yield cost(found)
  for time, call, reason in found.refused:
    yield f'refused {time} {call}: {reason}'
  if found.refusals > len(found.refused):
    yield f'{found.refusals} calls were refused in all.'


def cost(found: site_status.Status) -> str:
  """Returns the sentence about epsilon."""
  if found.epsilon is None:
    return 'Nothing is promised to the people in the images.'
  others = (f' {wording.counted(found.other_rounds, "round")} of training began under other approvals in this log; '
            'what they cost comes on top.' if found.other_rounds else '')
  return (f'Under this approval, this site\'s examples have cost epsilon {wording.at_most(found.epsilon)} so far, '
          f'at most, and {wording.at_most(found.most_epsilon)} if all approved rounds run.{others}')


def write_html(path: os.PathLike | str, found: site_status.Status, now: datetime.datetime) -> None:
  """Writes the page.

  Raises:
    ValueError: The file cannot be written.
  """
  first, *_ = lines(found)
  activities = {'caption': 'What the coordinator asked for', 'header': ['', 'begun', 'at most'], 'best': (),
                'rows': [[name, str(begun), str(most)] for name, (begun, most) in found.begun.items()]}
  refused = {'caption': f'Refused, the latest of {found.refusals}', 'header': ['time', 'call', 'why'], 'best': (),
             'rows': [list(one) for one in reversed(found.refused)]}
  pages.write(path, pages.render('site.html.j2', {
      'site': found.site, 'lead': first, 'cost': cost(found), 'activities': activities, 'refused': refused,
      'left': f'{numbers.size(found.bytes_out)} have left, of at most {numbers.size(found.most_bytes)}.',
      'footer': f'Written {now:%Y-%m-%d %H:%M} UTC from the audit log, whose chain is whole.'}))
