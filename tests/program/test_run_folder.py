"""What a finished run leaves behind, file by file and field by field, and an attacker who works with it.

Every mechanism trains for a few rounds, under a umask that hides nothing. Which files and fields there may be stands
here on its own: one that these lists do not know fails.
"""

import asyncio
import contextlib
import csv
import dataclasses
import json
import os
import re
import shutil
import stat
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from pipelines import train as train_pipeline
from tests import built
from tff_vision import assembly, configs, experiment
from tff_vision.export import keras_export, model_card
from tff_vision.learning import evaluation
from tff_vision.program import checkpoints, final_state, released, run_directory
from tff_vision.report import page as page_lib
from tff_vision.runtime.driver import runtimes

RELEASED = (r'config\.json', r'metrics\.csv', r'report\.json', r'report\.html', 'logdir', 'export',
            r'model_card\.(md|json)',
            r'export/(model\.keras|weights\.npz|model\.json|saved_model(/.*)?)')
SUMMARY = {'config', 'dataset', 'task', 'model', 'evaluation', 'per_client', 'unseen', 'privacy', 'rounds', 'seconds',
           'export_parity', 'environment', 'history', 'personal', 'secure_sum', 'traffic', 'training_data_shown',
           'warnings', 'origin', 'where_it_is_wrong'}
# When the process began and what it was told: nothing of it depends on clients.
ORIGIN = {'date', 'command', 'code_version', 'host', 'run_dir'}
DATASET = {'name', 'num_clients', 'num_test_examples', 'class_names', 'image_shape', 'notes'}
AUDIT = {'sentence', 'canaries', 'unit', 'confidence', 'epsilon_low', 'epsilon', 'delta', 'seen_by', 'ceiling',
         'broken', 'observers'}
SPREAD = {'metric', 'mean', 'percentile_10', 'worst', 'count', 'without_examples'}
ROUND = {'round', 'evaluation', 'per_client', 'privacy'}
TESTED = {'accuracy', 'loss'}
LEDGER = {'mechanism', 'epsilon', 'epsilon_rdp', 'delta', 'unit', 'relation', 'sampling', 'accountant', 'rounds',
          'noise_multiplier', 'clip_norm'}
# Of any of them: rounds that were released twice, what rounding adds, the promise as a curve, other settings' noise.
ANY = {'replayed_rounds', 'opened_from_clients', 'failed_rounds', 'rounding_adds_to_sensitivity', 'profile',
       'noise_multiplier_otherwise'}
EARLIER = {'mechanism': 'dp_ftrl', 'epsilon': 2.0, 'delta': 1e-5, 'unit': 'client', 'relation': 'zero out one client',
           'sampling': 'round_robin, 2 rounds between two turns', 'accountant': 'Gaussian, exact', 'rounds': 3}
CORRELATED = {'max_participations', 'noise_buffers'}
SHARES = {'max_participations', 'replayed_rounds', 'noise_sized_for_clients', 'fewest_clients_in_a_sum',
          'share_stddev_steps', 'clip_norm_steps', 'rounding_adds_to_sensitivity'}


@dataclasses.dataclass(frozen=True)
class Case:
  """A mechanism, and what beyond LEDGER its ledger says and why that may be told."""
  privacy: dict
  sampling: str = 'poisson'
  secure: str = 'none'
  says: frozenset = frozenset()
  sizes: bool = False  # Whether a client's number of examples counts as public.


CASES = {
    'client_gaussian': Case({'metrics_noise_multiplier': 4.0}, says=frozenset({'metrics_noise_multiplier'})),
    'client_gaussian audited': Case({'audit_canaries': 20}),
    'client_adaptive': Case({'count_stddev': 4.0}),
    'dp_ftrl': Case({}, 'round_robin', says=frozenset(CORRELATED)),
    'dp_mf blt': Case({'mf_strategy': 'blt'}, 'round_robin', says=frozenset(CORRELATED)),
    'dp_mf banded': Case({'mf_strategy': 'banded'}, 'round_robin', says=frozenset(CORRELATED)),
    'dp_mf amplified': Case({'mf_strategy': 'amplified', 'mf_bands': 2}, says=frozenset({'noise_buffers'})),
    # Attendance is public: their cost counts on no chance.
    'distributed_gaussian': Case({}, 'fixed', 'masks', says=frozenset(SHARES)),
    'distributed_skellam': Case({}, 'fixed', 'masks', says=frozenset(SHARES)),
    'local_dp': Case({}, 'fixed', says=frozenset({'max_participations', 'replayed_rounds'})),
    'example_dp_sgd': Case({}, 'fixed', says=frozenset({'replayed_rounds', 'per_client', 'gradients'}), sizes=True),
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """An .npz file of eight clients, one with a single image; noise, so that no image occurs by chance."""
  rng = np.random.default_rng(0)
  x, y = rng.integers(0, 256, (52, 5, 5, 1)).astype(np.uint8), rng.integers(0, 3, 52)
  path = tmp_path_factory.mktemp('data') / 'noise.npz'
  np.savez(path, x=x[:40], y=y[:40], client=np.repeat(np.arange(8), [5, 5, 5, 5, 5, 5, 9, 1]),
           x_test=x[40:], y_test=y[40:], client_test=np.arange(12) % 8)
  return path


@pytest.fixture(autouse=True)
def _quick(tff_runtime, monkeypatch):
  """Runs share the session's executor, and make files under a umask that hides nothing."""
  @contextlib.contextmanager
  def open_runtime(config):
    del config
    yield tff_runtime

  monkeypatch.setattr(runtimes, 'open_runtime', open_runtime)
  before = os.umask(0)
  yield
  os.umask(before)


@pytest.fixture(autouse=True)
def _light(monkeypatch, request):
  """Exports weights alone but once: what Keras and TensorFlow write is the same whatever the mechanism."""
  if request.node.name.endswith('[client_gaussian]'):
    return

  def export(task, weights, folder, evaluator):
    del task, evaluator
    folder.mkdir(exist_ok=True)
    final_state.write_weights(folder, weights)
    return 0.0
  monkeypatch.setattr(keras_export, 'export', export)


def configured(data, name, **program):
  case = CASES.get(name, Case({}, 'fixed', 'masks' if name == 'masks' else 'none'))
  privacy = configs.PrivacyConfig(privacy=name.split()[0], clip_norm=0.5, delta=0.01, noise_multiplier=2.0,
                                  **case.privacy) if name in CASES else configs.PrivacyConfig()
  return configs.ExperimentConfig(
      data=configs.DataConfig(dataset='npz', data_dir=str(data), partition='natural'), privacy=privacy,
      model=configs.ModelConfig(model='linear'), client=configs.ClientConfig(batch_size=4, client_epochs=1),
      cohort=configs.CohortConfig(sampling=case.sampling, cohort_size=4),
      secure=configs.SecureConfig(secure_sum=case.secure),
      program=configs.ProgramConfig(**{'rounds': 2, 'rounds_per_evaluation': 2, **program}))


def secrets_of(directory):
  """Returns the bytes in a run's folder that nobody may have once it is finished."""
  found = [directory.server_secret.read_bytes()]
  for round_num in checkpoints.versions(directory.checkpoints):
    folder = directory.checkpoints / f'{checkpoints.PREFIX}{round_num}' / 'variables' / 'variables'
    found += [tf.train.load_variable(str(folder), name) for name, _ in tf.train.list_variables(str(folder))
              if 'server_secret' in name]
  return {value if isinstance(value, bytes) else value.tobytes() for value in found if np.any(np.frombuffer(
      value if isinstance(value, bytes) else value.tobytes(), np.uint8))}


def assert_closed(directory):
  """What is secret is its owner's alone: folders 0700, files 0600."""
  paths = [directory.secrets, *directory.secrets.rglob('*')]
  assert len(paths) > 3
  for path in paths:
    assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def train(config, folder, **launch):
  """Returns the run's result, the secrets that its folder held while it trained, and the exact sizes of its cohorts."""
  directory, secrets, sizes = run_directory.RunDirectory(folder), set(), {}

  def on_round(record):
    assert_closed(directory)
    secrets.update(secrets_of(directory))
    ended = [json.loads(line) for line in directory.journal.read_text().splitlines() if 'end' in line]
    sizes.update({line['end']: line['clients'] for line in ended})
    if config.privacy.privacy != 'none':
      assert set(record) <= {*ROUND, 'noised'}, 'what is shown while it trains'

  result = experiment.run(config, configs.LaunchConfig(run_dir=str(folder), **launch), on_round=on_round)
  return result, secrets, [sizes[number] for number in sorted(sizes)]


def contents(folder):
  """Yields (name, bytes) of each file, and of each part of those that are archives."""
  for path in (path for path in folder.rglob('*') if path.is_file()):
    yield path, path.read_bytes()
    if zipfile.is_zipfile(path):
      with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
          yield f'{path}/{name}', archive.read(name)


def assert_nothing_of(folder, doomed):
  for name, content in contents(folder):
    assert not [value for value in doomed if value in content], name


def events(folder):
  """Returns the TensorBoard events in a folder."""
  return [tf.compat.v1.Event.FromString(record.numpy())
          for path in sorted(folder.iterdir()) for record in tf.data.TFRecordDataset(str(path))]


def assert_of_the_run(folder, config):
  """What was exported is one model, and read without a checkpoint; its card tells no sizes."""
  directory, task = run_directory.RunDirectory(folder), built.task(config)
  model = task.keras_model()
  final_state.read_weights(directory, model).assign_weights_to(model)
  whole = tf.keras.models.load_model(folder / 'export' / 'model.keras', compile=False)
  for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)
  card = model_card.describe(directory.read_report(), task, evaluation.Evaluator(
      model, preprocessing=task.images.preprocessing, objective=task.objective), {})
  model_card.write(folder, card)
  text = (folder / 'model_card.md').read_text()
  assert 'training images' not in text.split('## Limits')[0] and 'single training example' not in text
  assert len(card['clients']) == 8 and '| client | test images |' in text
  (folder / 'export' / 'weights.npz').unlink()
  with pytest.raises(ValueError, match='holds no weights'):
    final_state.read_weights(directory, model)


@pytest.mark.parametrize('name', CASES)
def test_a_finished_run_under_a_promise_leaves_what_the_promise_covers(name, data, tmp_path):
  case, folder = CASES[name], tmp_path / 'run'
  result, secrets, sizes = train(configured(data, name), folder)
  assert len(secrets) >= (2 if case.secure == 'none' and name not in ('local_dp', 'example_dp_sgd') else 1)
  names = {str(path.relative_to(folder)) for path in folder.rglob('*')}
  unknown = [found for found in names if not any(re.fullmatch(form, found) for form in
                                                 (*RELEASED, r'logdir/events\.out\.tfevents\.0'))]
  assert not unknown, unknown
  assert not stat.S_IMODE(folder.stat().st_mode) & 0o022, 'nobody else may put files in the place of these'
  with np.load(data) as held:
    assert_nothing_of(folder, [*secrets, *(image.tobytes() for image in held['x'])])

  report = json.loads((folder / 'report.json').read_text())
  audited = {'one_run_audit'} if 'audit_canaries' in case.privacy else set()
  assert report == json.loads(json.dumps(result.report)) and set(report) == SUMMARY | audited
  if audited:  # How many guesses were right: of coins of canaries, for whom nothing is promised. Not the coins.
    assert set(report['one_run_audit']) == AUDIT and report['dataset']['num_clients'] == 8
  assert set(report['dataset']) == DATASET | ({'num_train_examples'} if case.sizes else set())
  assert LEDGER | case.says <= set(report['privacy']) <= LEDGER | case.says | ANY
  assert set(report['traffic']) == {'bytes_down_per_client_and_round', 'bytes_up_per_client_and_round'}
  assert set(report['per_client']) == {*SPREAD, 'accuracies'} and set(report['evaluation']) == TESTED
  assert report['personal'] is None and report['unseen'] is None and not report['training_data_shown']
  assert set(report['seconds']) == {'setup', 'train', 'evaluate', 'export', 'other', 'total'}
  assert set(report['origin']) == ORIGIN and report['origin']['run_dir'] == str(folder)
  assert all(str(value / 10**np.floor(np.log10(value)))[:3] in ('1.0', '2.0', '5.0')
             for value in report['seconds'].values()), report['seconds']
  noised = {'noised'} if 'metrics_noise_multiplier' in case.privacy else set()
  assert [set(record) for record in report['history']] == [
      {'round', 'privacy'} | noised, ROUND | noised]
  last = report['history'][-1]
  assert set(last['per_client']) == SPREAD and set(last['privacy']) <= LEDGER | case.says | ANY
  assert not report['dataset']['notes'], 'they count training images'

  with open(folder / 'metrics.csv') as file:
    rows = list(csv.DictReader(file))
  header = {column.split('/')[0] for column in rows[0]}
  # Which round it is, is no size, although small cohorts may have had 1 and 2 clients.
  assert [row['round'] for row in rows] == [row['round_num'] for row in rows] == ['1', '2']
  for column in set(rows[0]) - {'round_num', 'round'}:
    assert [row[column] for row in rows] != [str(size) for size in sizes], column
  assert header <= {'round_num', *ROUND, *noised}
  seen = events(folder / 'logdir')
  assert all(event.wall_time == 0 for event in seen) and {event.step for event in seen} == {0, 1, 2}
  assert {value.tag.split('/')[0] for event in seen for value in event.summary.value} <= {*ROUND, *noised, '_hparams_'}

  page = (folder / 'report.html').read_text()
  links = re.findall('href="(.*?)"', page)
  assert set(links) == {'report.json', 'model_card.md', 'logdir', 'metrics.csv'}
  assert all((folder / link).exists() for link in links)
  assert 'A sample of training images' not in page and 'Training images only' not in page
  assert 'The most confident errors' not in page and '<img' not in page, 'test images may be the clients\' own'
  assert case.sizes or 'training images' not in re.sub(r'<p>The guarantee.*?</p>', '', page), 'their number'
  if name == 'client_gaussian':
    assert_of_the_run(folder, configured(data, name))


def test_without_a_promise_nothing_is_withheld(data, tmp_path):
  folder = tmp_path / 'run'
  train(configured(data, 'none'), folder)
  report = json.loads((folder / 'report.json').read_text())
  assert {'examples_per_second', 'peak_rss_mb'} <= set(report) and report['dataset']['num_train_examples'] == 40
  assert {'seconds', 'cohort_size', 'examples', 'train', 'traffic'} <= set(report['history'][0])
  parts = {name: value for name, value in report['seconds'].items() if name != 'total'}
  assert sum(parts.values()) == pytest.approx(report['seconds']['total']) and min(parts.values()) >= 0
  assert report['dataset']['notes'] == ['1 of 8 clients hold a single training example.']
  assert 'A sample of training images' in (folder / 'report.html').read_text()
  directory = run_directory.RunDirectory(folder)
  assert checkpoints.versions(directory.checkpoints) == [1, 2] and not directory.is_wiped()
  assert_closed(directory)


def test_a_hidden_sum_alone_keeps_what_single_clients_hold(data, tmp_path):
  folder = tmp_path / 'run'
  train(configured(data, 'masks'), folder)
  page = (folder / 'report.html').read_text()
  assert 'A sample of training images' not in page and 'Training images only' not in page
  assert run_directory.RunDirectory(folder).is_wiped() and not (folder / 'secret').exists()
  report = json.loads((folder / 'report.json').read_text())
  assert report['dataset']['num_train_examples'] == 40, 'the sum of what was hidden is told'
  assert not report['dataset']['notes'], 'and no note on single clients'


@pytest.mark.parametrize('name', ['client_gaussian', 'example_dp_sgd', 'distributed_gaussian', 'masks'])
def test_a_page_of_a_run_under_way_shows_what_the_report_may_show(name, data, tmp_path, monkeypatch):
  shown, write = [], page_lib.write_html

  def keep(path, report, images, **options):
    shown.append((report, images))
    write(path, report, images, **options)

  monkeypatch.setattr(page_lib, 'write_html', keep)
  folder, config = tmp_path / 'run', configured(data, name, rounds=4, rounds_per_evaluation=1)
  assert experiment.run(config, configs.LaunchConfig(run_dir=str(folder), stop_after=3)).report is None
  covered = {*ROUND, 'noised'} if name != 'masks' else {
      *ROUND, 'seconds', 'cohort_size', 'examples', 'train', 'traffic', 'evaluation_seconds', 'unmoved'}
  # Without exact times, which rounds are drawn follows from the settings; the last page is that of the stop.
  assert len(shown) >= 2 if name == 'masks' else [report['rounds'] for report, _ in shown] == [1, 2, 3, 3]
  for report, images in shown:
    assert images is None and not report['training_data_shown'] and not report['seconds']
    assert set(report) <= SUMMARY - {'export_parity', 'personal', 'warnings'}
    counted = {'num_train_examples'} if name in ('masks', 'example_dp_sgd') else set()
    assert set(report['dataset']) <= DATASET | counted
    assert not report['dataset']['notes'] and [record['round'] for record in report['history']] == list(
        range(1, report['rounds'] + 1))
    assert all(set(record) <= covered for record in report['history'])
  with np.load(data) as held:
    assert all(image.tobytes() not in (folder / 'report.html').read_bytes() for image in held['x'])
  assert 'Stopped: round' in (folder / 'report.html').read_text() and not (folder / 'tracking').exists()
  if name != 'masks':
    assert {value.tag.split('/')[0] for event in events(folder / 'logdir') for value in event.summary.value} <= {
        *ROUND, 'noised', '_hparams_'}


class Attacker:
  """Has a run's folder, and knows the code and every image but whether one client took part in the last round."""

  def __init__(self, parts, folder):
    self._parts = parts
    self._directory = run_directory.RunDirectory(folder)

  def replay(self, cohort):
    """Returns the model that the last round would have released for `cohort`; raises if the state is not to be had."""
    process, last = self._parts.process, int(self._directory.read_report()['rounds'])
    manager = checkpoints.Checkpoints(self._directory.checkpoints, wiped=False)
    state = asyncio.run(manager.load(last - 1, {'state': process.initialize(), 'history': b''}))['state']
    output = process.next(state, [self._parts.data.request(client, last) for client in cohort])
    return [np.asarray(value) for value in process.get_model_weights(output.state).trainable]


def test_whoever_has_the_folder_of_a_finished_run_cannot_strip_its_noise(data, tmp_path, monkeypatch):
  assembled, assemble = [], assembly.assemble
  monkeypatch.setattr(assembly, 'assemble', lambda *given: assembled.append(assemble(*given)) or assembled[-1])
  config = configured(data, 'client_gaussian', rounds=3)
  folder = tmp_path / 'kept'
  train(config, folder, keep_secrets=True)
  directory, place = run_directory.RunDirectory(folder), runtimes
  plan = experiment.build_plan(config, built.task(config), secret=directory.secret())
  cohort = list(plan.cohort(3))
  with np.load(folder / 'export' / 'weights.npz') as held:
    released = [held[name] for name in held.files][:2]
  attacker = Attacker(assembled[0], folder)
  with place.open_runtime(None) as opened, opened.cohort(cohort, population=8):
    guessed = attacker.replay(cohort)
  # The folder as it was left before: the same noise again, and so certainty about the cohort.
  assert all(np.array_equal(a, b) for a, b in zip(guessed, released, strict=True))
  other = cohort[1:] if len(cohort) > 1 else [*cohort, (cohort[0] + 1) % 8 if cohort else 0]
  with place.open_runtime(None) as opened, opened.cohort(other, population=8):
    assert not all(np.array_equal(a, b) for a, b in zip(attacker.replay(other), released, strict=True))
  secrets = secrets_of(directory)
  # Opened again, the run finishes what was kept back. A kill within the wiping leaves nothing that looks like a run.
  told = (folder / 'report.json').read_text()
  with monkeypatch.context() as patched:
    patched.setattr(run_directory.secret_files, 'move', killed_after(run_directory.secret_files.move))
    with pytest.raises(Killed):
      experiment.run(config, configs.LaunchConfig(run_dir=str(folder), resume=True, show_training_data=True))
  assert any(value in content for value in secrets for _, content in contents(folder)) and directory.is_wiped()
  page = (folder / 'report.html').read_text()
  assert 'A sample of training images' in page and 'this run was told to show them' in page
  result = experiment.run(config, configs.LaunchConfig(run_dir=str(folder), resume=True))
  assert result.rounds == 3 and result.report['privacy'] == json.loads(told)['privacy']
  assert_nothing_of(folder, secrets)
  assert not [path for path in folder.iterdir() if 'secret' in path.name]
  with pytest.raises((FileNotFoundError, tff.program.ProgramStateNotFoundError)):
    attacker.replay(cohort)
  with np.load(folder / 'export' / 'weights.npz') as held:
    assert all(np.array_equal(held[f'arr_{i}'], value) for i, value in enumerate(released))


class Killed(BaseException):
  """As by kill -9: nothing catches it."""


def killed_after(move):
  def killed(path, target):
    move(path, target)
    if target.name == 'secret.wiped':
      (target / 'journal.jsonl').unlink()
      raise Killed
  return killed


def stopped(config, folder):
  """Trains one round and stops as on Ctrl-C."""
  return experiment.run(config, configs.LaunchConfig(run_dir=str(folder)), stop_requested=lambda: True)


def test_a_stopped_run_keeps_its_secrets_closed_and_goes_on_also_from_a_folder_of_an_earlier_version(
    data, tmp_path, capsys):
  config, folder = configured(data, 'client_gaussian'), tmp_path / 'run'
  assert stopped(config, folder).report is None
  directory = run_directory.RunDirectory(folder)
  assert_closed(directory)
  shutil.copytree(folder, tmp_path / 'lost')
  shutil.rmtree(tmp_path / 'lost' / 'secret')
  with pytest.raises(ValueError, match='its secrets are lost'):
    experiment.run(config, configs.LaunchConfig(run_dir=str(tmp_path / 'lost'), resume=True))
  secrets = secrets_of(directory)
  for path in directory.secrets.iterdir():  # As earlier versions had it.
    path.rename(folder / path.name)
  directory.secrets.rmdir()
  os.chmod(folder / 'checkpoints', 0o755)
  result = experiment.run(config, configs.LaunchConfig(run_dir=str(folder), resume=True))
  assert result.rounds == 2 and directory.is_wiped()
  assert {path.name for path in folder.iterdir()} == {
      'config.json', 'metrics.csv', 'logdir', 'report.json', 'report.html', 'model_card.json', 'model_card.md',
      'export'}
  assert_nothing_of(folder, secrets)
  # A finished run is read, not run: nothing can be charged to it or released by it.
  again = experiment.run(config, configs.LaunchConfig(run_dir=str(folder), resume=True))
  assert again.report['privacy'] == result.report['privacy'] and again.rounds == 2
  train_pipeline._conclude(again)
  assert 'privacy: epsilon' in (said := capsys.readouterr().out) and 'secrets: checkpoints' in said
  longer = dataclasses.replace(config, program=dataclasses.replace(config.program, rounds=5))
  with pytest.raises(ValueError, match='rounds is 2 there and 5 here'):
    experiment.run(longer, configs.LaunchConfig(run_dir=str(folder), resume=True))


def test_moments_of_training_images_are_no_part_of_a_private_model(data, tmp_path):
  config = configured(data, 'client_gaussian')
  config = dataclasses.replace(config, data=dataclasses.replace(config.data, preprocess='standardize'))
  with pytest.raises(ValueError, match='preprocess=standardize does not go with privacy=client_gaussian'):
    experiment.run(config, configs.LaunchConfig(run_dir=str(tmp_path / 'run')))
  assert not (tmp_path / 'run').exists()


def test_a_report_of_an_earlier_version_shows_by_its_promises_and_times_are_coarse():
  for content, shown in (({}, True), ({'privacy': {'mechanism': 'none'}, 'secure_sum': {'mode': 'none'}}, True),
                         ({'privacy': EARLIER}, False), ({'secure_sum': {'mode': 'he'}}, False),
                         ({'privacy': EARLIER, 'training_data_shown': True}, True)):
    assert released.training_data_shown(content) == shown
  assert not released.client_sizes_are_public({'secure_sum': {'mode': 'he'}})
  assert not released.client_sizes_are_public({'privacy': EARLIER})
  assert released.client_sizes_are_public({'privacy': {
      **EARLIER, 'mechanism': 'example_dp_sgd', 'unit': 'example', 'relation': 'add or remove one example',
      'per_client': [{'examples': 9, 'rounds': 1, 'epsilon_rdp': 2.0}]}})
  times = [0, 0.04, 0.1, 0.11, 0.3, 0.51, 1, 7, 11, 20, 20.1, 99, 4_000]
  assert [released.coarse(value) for value in times] == [
      0.1, 0.1, 0.1, 0.2, 0.5, 1, 1, 10, 20, 20, 50, 100, 5_000]


def test_the_time_of_a_resumed_run_adds_up_and_has_the_rounds_of_both_processes(data, tmp_path):
  config, folder = configured(data, 'none', rounds=3), tmp_path / 'run'
  assert stopped(config, folder).report is None
  report = experiment.run(config, configs.LaunchConfig(run_dir=str(folder), resume=True)).report
  seconds = dict(report['seconds'])
  total = seconds.pop('total')
  assert sum(seconds.values()) == pytest.approx(total) and min(seconds.values()) >= 0
  assert seconds['train'] == pytest.approx(sum(record['seconds'] for record in report['history']))
  assert len(report['history']) == 3 and 'elapsed' not in report['history'][0]
