"""Shows a site's owner what ran there, what left, and what it cost; pauses, goes on, or leaves.

    python -m pipelines.site --approved=approved.json --audit_log=audit.jsonl --tls_cert=north.crt [--out=site.html]
    python -m pipelines.site --approved=approved.json --audit_log=audit.jsonl --tls_cert=north.crt --set=pause

`pause` and `leave` take effect before the next round: the coordinator then goes on as if this site's worker were down,
while at least --min_workers are left. After `leave` the worker may be stopped; `go_on` undoes both.
"""

import datetime
import pathlib

from absl import flags

from flags import program_flags
from pipelines import launch
from tff_vision.configs import validate

_APPROVED = flags.DEFINE_string('approved', 'approved.json', 'File that pipelines.approve made.')
_AUDIT_LOG = flags.DEFINE_string('audit_log', 'audit.jsonl', 'The audit log of the worker.')
_TLS_CERT = flags.DEFINE_string(
    'tls_cert', None, 'PEM file of this site\'s certificate, whose key signed the approval.')
_SET = flags.DEFINE_enum('set', None, ['pause', 'go_on', 'leave'], 'What the site does from the next round on.')
_OUT = flags.DEFINE_string('out', None, 'HTML file that receives the same; unset writes none.')


def main() -> None:
  if _TLS_CERT.value is None:
    raise ValueError('tls_cert is missing.')
  log = pathlib.Path(_AUDIT_LOG.value)
  # The worker looks beside its own log; with another one, a site would be said to pause and go on.
  if _SET.value is not None and not log.is_file():
    raise ValueError(f'audit_log={_AUDIT_LOG.value} is no file, so no worker that runs hears of set={_SET.value}.')
  if _OUT.value is not None:  # Before anything is paused.
    validate.writable_file(out=_OUT.value)
  from tff_vision.federation import approval, site_page, site_status  # Imported late: --help must be fast.
  ruled = approval.read(pathlib.Path(_APPROVED.value), pathlib.Path(_TLS_CERT.value)).rules()
  if _SET.value is not None:
    site_status.hold(log, {'pause': site_status.PAUSED, 'leave': site_status.LEFT, 'go_on': None}[_SET.value])
  found = site_status.of(ruled, log)
  for line in site_page.lines(found):
    print(line)
  if _OUT.value is not None:
    site_page.write_html(_OUT.value, found, datetime.datetime.now(datetime.UTC))
  if program_flags.json_file() is not None:
    from tff_vision.program import json_file
    json_file.write(program_flags.json_file(), found.to_json())


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
