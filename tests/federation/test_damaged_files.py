"""A file of a federation that is lost or damaged is one sentence with its name, from every pipeline that reads it."""

import json

import pytest

from tests.federation import damage, guarded, plans
from tff_vision.data import records
from tff_vision.federation import approval, site_manifest
from tff_vision.runtime.worker import certificate_authority
from tff_vision.runtime.worker.guard import rules

ACTIVITY = rules.Activity(name='a round', most=3, trains=True, orders=(
    (rules.Block((rules.Step('call', 'k'), rules.Step('fetch', 'l')), 2),),))


@pytest.fixture(scope='module')
def there(tmp_path_factory):
  """A folder with a plan, an approval, what was prepared, and certificates."""
  folder = tmp_path_factory.mktemp('there')
  certificate_authority.make_authority(folder)
  for site in guarded.SITES:
    certificate_authority.make_worker(folder, site)
  plan = plans.of(plans.experiment(), plans.simulated(), folder)
  (folder / 'plan.json').write_text(plan.to_json())
  data = folder / 'data'
  data.mkdir()
  name = data / records.file_name(0)
  name.write_bytes(b'')
  one, ten = (dict.fromkeys(site_manifest.SPLITS, value) for value in (1, [1, 0]))
  clients = [site_manifest.Client(name='c', number=0, counts=one, patients=one, classes=ten)]
  (data / site_manifest.NAME).write_text(site_manifest.SiteManifest(
      plan='p', site='north', clients=tuple(clients), files={name.name: site_manifest.digest_of(name)}).to_json())
  certificates = {site: folder / f'{site}.crt' for site in guarded.SITES}
  peers = approval.peers_of(guarded.plan(folder, **guarded.MASKS), certificates)
  approval.write(approval.Approval(
      site='north', plan='p', expires='2091-01-01T00:00:00+00:00', computations=('a',), names=(str(name),),
      values=('v',), activities=(ACTIVITY,), most_clients=1, most_bytes=5, epsilon=((1, 0.5), (2, 0.7)),
      plays=('masks',), peers=peers), folder / 'approved.json', folder / 'north.key')
  return folder


PLAN, APPROVED, SITE = 'plan.json', 'approved.json', f'data/{site_manifest.NAME}'
TLS = ('--tls_cert=HERE/north.crt', '--tls_key=HERE/north.key', '--tls_client_ca=HERE/ca.crt')
GUARDED = ('--approved=HERE/approved.json', '--audit_log=HERE/audit.jsonl', *TLS, '--sandbox=none', '--port=9')
READERS = {
    'approve': (PLAN, '--plan=HERE/plan.json', '--site=north', '--tls_key=HERE/north.key'),
    'train': (PLAN, '--plan=HERE/plan.json', '--run_dir=HERE/run'),
    'prepare': (PLAN, '--plan=HERE/plan.json', '--site=north', '--data_dir=HERE/data', '--out=HERE/out'),
    'survey': (PLAN, '--plan=HERE/plan.json', '--out=HERE/survey'),
    'key_holder': (PLAN, '--plan=HERE/plan.json', '--key_holder_dir=HERE/keys', *TLS),
    'worker': (APPROVED, *GUARDED), 'worker of records': (SITE, *GUARDED),
    'site': (APPROVED, '--approved=HERE/approved.json', '--audit_log=HERE/audit.jsonl', TLS[0])}
# Those that read it before they import TensorFlow.
_QUICK = ('approve', 'train', 'prepare', 'survey', 'key_holder')


@pytest.mark.parametrize('reader', [name if name in _QUICK else pytest.param(name, marks=pytest.mark.ci)
                                    for name in READERS])
def test_every_pipeline_names_it(reader, there, run_module):
  file, *arguments = READERS[reader]
  path = there / file
  whole = path.read_text()
  try:
    done = run_module('tests.federation.damage', reader.split()[0], path,
                      *(argument.replace('HERE', str(there)) for argument in arguments))
  finally:
    damage.damage(path, whole, str.encode)
  assert done.returncode == 0, done.stderr[-2000:]
  found = json.loads(done.stdout.splitlines()[-1])
  expected = set(damage.DAMAGES) - ({'missing'} if file == SITE else set())
  assert found.keys() == expected
  for name in expected:
    assert str(path) in found[name] and found[name].endswith('.') and '\n' not in found[name], (name, found[name])
    assert len(found[name]) < 1000 and not found[name].split()[0].endswith('Error'), (name, found[name])
  assert 'version' in found['a fraction'] and 'version' in found['a name twice']


def parts(content, path=()):
  """Yields the place of every value in JSON."""
  for key, value in (content.items() if isinstance(content, dict) else enumerate(content)):
    yield (*path, key)
    if isinstance(value, (dict, list)):
      yield from parts(value, (*path, key))


def replaced(content, path, value):
  if not path:
    return value
  copied = dict(content) if isinstance(content, dict) else list(content)
  copied[path[0]] = replaced(content[path[0]], path[1:], value)
  return copied


# No field of these files may have one of the first; some may have others.
ILLEGAL = ([[[]]], 10**400, {'a': {}})
OTHER = (None, -1, 0, True, 'x', '', 1.5, 1e308, [], ['x'], [1], {}, 2**62)


@pytest.mark.parametrize('file', [PLAN, APPROVED, SITE])
def test_a_value_of_another_type_anywhere_is_named(file, there, tmp_path):
  from tests.federation.test_reading import READERS as readers
  read = {PLAN: readers['plan'], SITE: readers['manifest'],
          APPROVED: lambda path: approval.read(path, there / 'north.crt')}[file]
  content, path = json.loads((there / file).read_text()), tmp_path / site_manifest.NAME
  for number, place in enumerate(parts(content)):
    for value in (ILLEGAL[number % len(ILLEGAL)], OTHER[5 * number % len(OTHER)]):
      path.write_text(json.dumps(replaced(content, place, value)))
      try:
        read(path)
      except ValueError as error:
        said = str(error)
        assert str(path) in said and said.endswith('.') and '\n' not in said and len(said) < 1000, (place, value, said)
        assert value not in ILLEGAL or any(str(name) in said for name in place if isinstance(name, str)), (place, said)
      else:
        assert value not in ILLEGAL, (place, value)
