"""What a worker refuses before it serves, and what a coordinator says when workers end its run."""

import dataclasses
import shutil
import types

import pytest

from flags import groups, runtime_flags
from pipelines import train, worker
from tests import tiny
from tff_vision.data import records
from tff_vision.federation import approval, site_manifest
from tff_vision.runtime.driver import fleet, stub
from tff_vision.runtime.worker import certificate_authority


@pytest.fixture(name='site', scope='module')
def _site(tmp_path_factory):
  """A folder with a prepared record, an approval of its names, and the config of its worker without a sandbox."""
  folder = tmp_path_factory.mktemp('site')
  certificate_authority.make_authority(folder)
  certificate_authority.make_worker(folder, 'north')
  data = folder / 'prepared'
  data.mkdir()
  name = records.file_name(0)
  records.write(data / name, tiny.federated_images((4, 4)).train.examples(0))
  (data / site_manifest.NAME).write_text(site_manifest.SiteManifest(
      plan='p', site='north', clients=(), files={name: site_manifest.digest_of(data / name)}).to_json())
  made = approval.Approval(site='north', plan='p', expires='2021-01-01T00:00:00+00:00', computations=('a',),
                           names=(str(data / name),), values=(), activities=(), most_clients=1, most_bytes=5)
  approval.write(made, folder / 'approved.json', folder / 'north.key')
  return types.SimpleNamespace(
      folder=folder, record=data / name, approval=made, config=types.SimpleNamespace(
          data_root=None, approved=str(folder / 'approved.json'), tls_cert=str(folder / 'north.crt'),
          audit_log=str(folder / 'audit.jsonl')))


def test_an_approval_that_has_expired_is_said_at_the_site(site):
  with pytest.raises(ValueError, match='approved=.* has expired at 2021-01-01 00:00 UTC; run pipelines.approve again'):
    worker._approved(site.config)
  assert not (site.folder / 'audit.jsonl').exists()


@pytest.mark.parametrize('sandboxed', [False, True])
def test_a_record_that_has_changed_is_said_with_and_without_a_sandbox(site, sandboxed):
  config = types.SimpleNamespace(**vars(site.config))
  if sandboxed:
    config.data_root = str(site.record.parent)
  worker._check_records(config, site.approval)
  whole = site.record.read_bytes()
  try:
    site.record.write_bytes(whole + b'x')
    with pytest.raises(ValueError, match='client_000000.tfrecord has changed since it was prepared'):
      worker._check_records(config, site.approval)
  finally:
    site.record.write_bytes(whole)


def test_an_approval_for_other_numbers_of_images_than_there_are_is_said(site, tmp_path):
  shutil.copytree(site.record.parent, tmp_path / 'data')
  manifest = site_manifest.read(tmp_path / 'data')
  (tmp_path / 'data' / site_manifest.NAME).write_text(dataclasses.replace(manifest, clients=tuple(
      site_manifest.Client(name=name, number=number, patients=dict.fromkeys(site_manifest.SPLITS, count),
                           counts=dict.fromkeys(site_manifest.SPLITS, count),
                           classes=dict.fromkeys(site_manifest.SPLITS, (count,)))
      for name, number, count in (('b', 1, 9), ('a', 0, 17)))).to_json())
  config = types.SimpleNamespace(data_root=str(tmp_path / 'data'), approved='approved.json')
  for examples in (), (17, 9):
    worker._check_records(config, dataclasses.replace(site.approval, examples=examples))
  with pytest.raises(ValueError, match=r'examples=1000,9 training images, and data_root=.* has 17,9: run'):
    worker._check_records(config, dataclasses.replace(site.approval, examples=(1000, 9)))


def test_records_on_a_full_disk_leave_nothing(tmp_path, monkeypatch):
  import tensorflow as tf

  class Full:
    """A writer for which there is no room, after it has begun a file."""

    def __init__(self, path):
      open(path, 'wb').close()

    def __enter__(self):
      return self

    def __exit__(self, *_):
      return None

    def write(self, record):
      raise tf.errors.ResourceExhaustedError(None, None, 'No space left on device')

  monkeypatch.setattr(tf.io, 'TFRecordWriter', Full)
  with pytest.raises(OSError, match='No space left on device'):
    records.write(tmp_path / 'client_000000.tfrecord', tiny.federated_images((4, 4)).train.examples(0))
  assert not list(tmp_path.iterdir())


def test_a_run_that_workers_end_says_how_to_go_on(tmp_path):
  groups.define(runtime_flags.GROUPS)
  for error in (fleet.TooFewWorkers('2 of 3 workers answer.'), stub.RefusedByWorker('site north: no.')):
    assert train._kept(error, tmp_path) == ''
  (tmp_path / 'secret' / 'checkpoints').mkdir(parents=True)
  assert train._kept(stub.RefusedByWorker('site north: no.'), tmp_path) == ''
  (tmp_path / 'secret' / 'checkpoints' / 'round_1').touch()
  said = train._kept(fleet.TooFewWorkers('2 of 3 workers answer.'), tmp_path)
  assert said == f' Finished rounds are kept; then go on with --resume --run_dir={tmp_path}.'
  assert train._kept(ValueError('rounds must be positive.'), tmp_path) == ''
