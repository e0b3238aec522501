"""Makes the certificates of a federation: one authority, one certificate for each worker, one for the coordinator.

    python -m pipelines.certificates --dir=pki --hosts=hospital-a.example.org,192.0.2.7

Run it on the machine that keeps ca.key, and nowhere else; run it again with other hosts to add workers. Each worker
gets ca.crt and its own .crt and .key, the coordinator gets ca.crt, coordinator.crt and coordinator.key. A site that
has an authority of its own uses that instead: docs/how-to/remote.md says what a certificate must carry.

With --doorway=coordinator.example.org, for sites that dial outwards: each host also gets a HOST.dial and HOST.dial.pub,
and the coordinator a certificate for its name, and doorway and doorway.pub, by which sites recognise it.
"""

import pathlib

from absl import flags

from pipelines import launch
from tff_vision.runtime.worker import certificate_authority

_DIR = flags.DEFINE_string('dir', 'pki', 'Folder of the authority and of what it signs.')
_HOSTS = flags.DEFINE_list('hosts', [], 'Names or addresses by which the coordinator reaches the workers.')
_DOORWAY = flags.DEFINE_string('doorway', None, 'Name or address by which sites dial to the coordinator.')


def main() -> None:
  folder = pathlib.Path(_DIR.value)
  certificate_authority.check_new(folder, _HOSTS.value)
  certificate_authority.make_authority(folder)
  if not (folder / 'coordinator.crt').exists():
    certificate_authority.make_coordinator(folder)
  for host in _HOSTS.value:
    certificate_authority.make_worker(folder, host)
  if _DOORWAY.value is not None:
    if not (folder / f'{_DOORWAY.value}.crt').exists():
      certificate_authority.make_worker(folder, _DOORWAY.value)
    for name in ('doorway', *(f'{host}.dial' for host in _HOSTS.value)):
      certificate_authority.make_dial_key(folder, name)
  print(f'in {folder}: {", ".join(sorted(path.name for path in folder.iterdir()))}')


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
