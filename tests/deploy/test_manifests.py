"""The files of deploy/ start what there is: every command in them has a pipeline and flags that go together."""

import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from tests.pipelines import test_flags
from tff_vision.configs import dial_config
from tff_vision.runtime.worker import certificate_authority, supervisor

DEPLOY = pathlib.Path(__file__).parents[2] / 'deploy'
UNITS = sorted(DEPLOY.glob('*.service'))
KUSTOMIZED = sorted((DEPLOY / 'kustomize').iterdir())
# Which files say how a site is started, how a coordinator is, and how a key holder is.
OF = {'site': ['tff-vision-site.service', 'site.compose.yaml', 'kustomize/site/site.yaml'],
      'coordinator': ['tff-vision-doorway.service', 'tff-vision-train.service', 'coordinator.compose.yaml',
                      'kustomize/coordinator/coordinator.yaml'],
      'key holder': ['tff-vision-key-holder.service']}


def commands(path):
  """Yields (pipeline, {flag: value}) of a file; a list of words, or one line of a unit."""
  text = '\n'.join(line for line in path.read_text().replace('\\\n', ' ').splitlines()
                   if not line.lstrip().startswith('#'))
  for found in re.finditer(r'pipelines\.(\w+)((?:\s+-?\s*--[\w]+=\S+)*)', text):
    yield found.group(1), dict(re.findall(r'--(\w+)=(\S+)', found.group(2)))


@pytest.mark.parametrize('role', OF)
def test_commands_have_a_pipeline_and_its_flags(role):
  begun = set()
  for name in OF[role]:
    found = list(commands(DEPLOY / name))
    assert found, name
    for pipeline, flags in found:
      recorded = test_flags.RECORDED['pipelines'][pipeline]
      assert flags and not set(flags) - {*recorded['names'], *recorded['other']}, (name, pipeline)
      begun.add(pipeline)
  assert begun == {'site': {'worker'}, 'coordinator': {'doorway', 'train'},
                   'key holder': {'key_holder'}}[role]


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Every file that a manifest may name."""
  folder = tmp_path_factory.mktemp('pki')
  certificate_authority.make_authority(folder)
  certificate_authority.make_worker(folder, 'site')
  certificate_authority.make_dial_key(folder, 'site.dial')
  certificate_authority.make_dial_key(folder, 'doorway')
  return folder


@pytest.mark.parametrize('name', OF['site'])
def test_a_site_has_a_guard_dials_and_has_settings_that_go_together(name, files):
  [(_, flags)] = commands(DEPLOY / name)
  assert {'approved', 'audit_log', 'dial'} <= flags.keys() and 'host' not in flags
  there = {flag: str(files / pathlib.Path(value).name) if (files / pathlib.Path(value).name).exists() else value
           for flag, value in flags.items()}
  place = {'$(DIAL)': 'trainer@coordinator.example:443', '$(DIAL_AS)': '127.0.0.2:8443',
           '$(DIAL_NAME)': 'coordinator.example'}
  there = {flag: place.get(value, re.sub(r'^\$\{\w+:-(.*)\}$', r'\1', value)) for flag, value in there.items()}
  of_dial = {flag: value for flag, value in there.items() if flag.startswith('dial')}
  dialled = dial_config.DialConfig(**of_dial)
  config = supervisor.WorkerConfig(**{
      flag: int(value) if flag in ('port', 'health_port') else value for flag, value in there.items()
      if flag not in of_dial})
  assert config.tls.client_name == 'coordinator' and config.host == '127.0.0.1'
  assert dialled.place[1:] == ('coordinator.example', 443)
  # The log, from which is counted, is on a volume of its own.
  assert flags['audit_log'].startswith(('/state/', '%S/'))


@pytest.mark.parametrize('path', [*DEPLOY.glob('*.yaml'), *(DEPLOY / 'kustomize').rglob('*.yaml')],
                         ids=lambda path: path.name)
def test_manifests_are_yaml_and_containers_are_shut(path):
  for document in yaml.safe_load_all(path.read_text()):
    for container in _containers(document):
      shut = container.get('securityContext', {})
      assert shut.get('readOnlyRootFilesystem') or container.get('read_only'), container
      assert 'ALL' in (shut.get('capabilities', {}).get('drop') or container.get('cap_drop'))


def _containers(found):
  """Yields the containers of pods and the services of compose files, at any depth."""
  if isinstance(found, dict):
    if 'image' in found and ('name' in found or 'mem_limit' in found):
      yield found
    for key, value in found.items():
      if key != 'images':
        yield from _containers(value)
  elif isinstance(found, list):
    for value in found:
      yield from _containers(value)


@pytest.mark.skipif(shutil.which('kubectl') is None, reason='kubectl is not installed')
@pytest.mark.parametrize('folder', KUSTOMIZED, ids=lambda folder: folder.name)
def test_kustomize_builds_it_and_an_overlay_changes_its_settings(folder, tmp_path):
  there = tmp_path / 'base'
  shutil.copytree(folder, there)
  name = f'tff-vision-{folder.name}'
  setting = {'site': 'DIAL_AS=127.0.0.9:8443', 'coordinator': 'SITES=127.0.0.9:8443=/secrets/nine'}[folder.name]
  (tmp_path / 'kustomization.yaml').write_text(
      f'resources: [base]\nnamespace: federation\nimages: [{{name: tff_vision_federation, newName: here/image}}]\n'
      f'configMapGenerator: [{{name: {name}, behavior: merge, literals: ["{setting}"]}}]\n')
  done = subprocess.run(['kubectl', 'kustomize', tmp_path], capture_output=True, text=True, timeout=60, check=False)
  assert done.returncode == 0, done.stderr
  assert setting.partition('=')[2] in done.stdout and 'image: here/image' in done.stdout
  # The name of the settings has a digest, and pods refer to the same.
  [made] = set(re.findall(rf'{name}-[a-z0-9]{{10}}', done.stdout))
  assert done.stdout.count(made) >= 2 and 'tff_vision_federation' not in done.stdout


@pytest.mark.skipif(shutil.which('systemd-analyze') is None, reason='systemd is not installed')
@pytest.mark.parametrize('unit', UNITS, ids=lambda path: path.name)
def test_systemd_knows_every_line_of_a_unit(unit, tmp_path):
  text = unit.read_text().replace('/opt/tff_vision/.venv/bin/python', '/bin/true')
  (tmp_path / unit.name).write_text(text)
  done = subprocess.run(['systemd-analyze', 'verify', tmp_path / unit.name], capture_output=True, text=True, timeout=60,
                        check=False)
  said = [line for line in done.stderr.splitlines() if unit.name in line and 'Failed to' not in line]
  assert not said, said


def test_a_stopped_training_goes_on(tmp_path):
  """The shell of the unit and of the containers gives --resume once there is a run."""
  for name, path in (('tff-vision-train.service', '%S/tff_vision'), ('coordinator.compose.yaml', '/runs'),
                     ('kustomize/coordinator/coordinator.yaml', '/runs')):
    text = (DEPLOY / name).read_text().replace('\\\n', '').replace('$$', '$').replace(path, str(tmp_path / name))
    script = re.search(r"'(if \[ -e .*?)'", text).group(1)
    script = re.sub(r'exec \S*python -m', 'echo', script)
    folder = tmp_path / name / 'federation'
    folder.mkdir(parents=True)
    for there in (False, True):
      if there:
        (folder / 'config.json').touch()
      said = subprocess.run(['sh', '-c', script, 'sh', 'pipelines.train', '--plan=x'], capture_output=True, text=True,
                            check=True).stdout.split()
      assert said == ['pipelines.train', '--plan=x', *(['--resume'] if there else [])], name
