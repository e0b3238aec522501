"""report.html, parsed: nothing escapes, nothing is fetched, every number is the report's, every image decodes."""

import base64
import dataclasses
import html.parser
import io
import json
import math
import re

import numpy as np
import pytest
from matplotlib import image

from tff_vision.accounting import ledger, profiles
from tff_vision.data import images
from tff_vision.report import clients, costs, number_format, partition, privacy_profile, settings, tables
from tff_vision.report import page as page_lib

HOSTILE = ['</td><script>alert(1)</script>', '" onerror="alert(2)', '$\\frac{', '_犬 & {{ 7 * 7 }}\x00\n\ud800']


class Page(html.parser.HTMLParser):
  """The elements of a page, its text, its <data> elements and its embedded images."""

  def __init__(self, path):
    super().__init__()
    self.elements, self.text, self.data, self.uris, self.alts, self._value = [], [], [], [], [], None
    self.feed(path.read_text(encoding='utf-8'))

  def handle_starttag(self, tag, attrs):
    given = dict(attrs)
    self.elements.append((tag, given))
    self.uris += [given[name] for name in ('src', 'srcset', 'href', 'data', 'poster') if name in given]
    if tag == 'img':
      self.alts.append(given['alt'])
    self._value = given.get('value') if tag == 'data' else None

  def handle_data(self, data):
    self.text.append(data)
    if self._value is not None:
      self.data.append((float(self._value), data))
      self._value = None


def make_images(class_names=('cat', 'dog'), clients=4, shape=(8, 8, 1), dtype=np.uint8, multi_label=False):
  rng = np.random.default_rng(0)
  count = 6 * clients
  x = rng.integers(0, 256, (count, *shape)).astype(dtype)
  y = (rng.integers(0, 2, (count, len(class_names))).astype(np.float32) if multi_label
       else rng.integers(0, len(class_names), count).astype(np.int32))
  examples = images.Examples(x, y)
  # The first client is empty, as a Dirichlet partition may leave it.
  indices = [np.arange(0), np.arange(12), *(np.arange(6 * i, 6 * i + 6) for i in range(2, clients))]
  ids = [f'client {i}' for i in range(clients)]
  return images.FederatedImages(name='made', class_names=class_names,
                                train=images.ArrayClients(examples, indices, ids),
                                test=images.HeldOut(examples=examples, clients=indices))


def make_report(rounds=3, **changed):
  history = [{'round': r, 'train': {'loss': 2 / r, 'accuracy': 0.3}, 'seconds': 0.5,
              'evaluation': {'accuracy': 0.5 + 0.4 * r / rounds, 'loss': 1.5 / r},
              'per_client': {'mean': 0.7, 'percentile_10': 0.4, 'worst': 0.25},
              'privacy': {'epsilon': 0.5 * r}} for r in range(1, rounds + 1)]
  clients = {'mean': 0.7125, 'percentile_10': 0.4375, 'worst': 0.25, 'count': 3, 'without_examples': 1,
             'accuracies': [None, 0.25, 0.9, 0.9875]}
  return {
      'config': {'data': {'dataset': 'made', 'data_dir': None}, 'client': {'client_learning_rate': 0.012345678},
                 'privacy': {'target_epsilon': 2.0}, 'cohort': {'cohort_size': 2, 'sampling': 'poisson'}},
      'dataset': {'name': 'made', 'num_clients': 4, 'num_train_examples': 12345, 'num_test_examples': 24,
                  'class_names': ['cat', 'dog'], 'image_shape': [8, 8, 1], 'notes': ['Licence: <b>CC BY</b>.']},
      'model': {'name': 'mlp', 'parameters': 1663370},
      'evaluation': {'accuracy': 0.91237, 'loss': 0.345678}, 'per_client': clients,
      'unseen': {'evaluation': {'accuracy': 0.81237, 'loss': 0.5}, 'per_client': clients},
      'privacy': {'mechanism': 'client_gaussian', 'epsilon': 1.53219, 'delta': 1e-5, 'unit': 'client',
                  'relation': 'add or remove one client', 'sampling': 'poisson, rate 0.5', 'accountant': 'PLD',
                  'rounds': rounds, 'noise_multiplier': 1.1},
      'rounds': rounds, 'seconds': {'setup': 4.25, 'train': 21.5, 'evaluate': 3.0, 'total': 130.0},
      'examples_per_second': 1312.4, 'peak_rss_mb': 1480.2, 'export_parity': 2.5e-6,
      'environment': {'python': '3.11.9', 'cores': 2}, 'history': history,
      'training_data_shown': True, **changed}


def write(tmp_path, content, data):
  path = tmp_path / 'report.html'
  page_lib.write_html(path, content, data)
  assert [p.name for p in tmp_path.iterdir()] == ['report.html']
  return Page(path)


def numbers_of(value):
  if isinstance(value, dict):
    return {n for element in value.values() for n in numbers_of(element)}
  if isinstance(value, list):
    return {n for element in value for n in numbers_of(element)}
  return {float(value)} if number_format.is_number(value) else set()


def test_every_number_is_the_reports_and_is_rounded_rightly(tmp_path):
  content, data = make_report(), make_images()
  page = write(tmp_path, content, data)
  # Seconds a round, the rest and the sum of the parts; sizes of sampled clients; defaults beside changed settings.
  derived = {21.5 / 3, 101.25, 130.0, *map(float, map(len, data.train.indices)), 0.2, 10.0}
  assert page.data and {exact for exact, _ in page.data} <= numbers_of(content) | derived
  for exact, text in page.data:
    shown = float(re.sub(r'[ ,s%]|MB|min', '', text)) if 'min' not in text else None
    if shown is not None:
      shown = shown / 100 if text.endswith('%') else shown
      assert math.isclose(shown, exact, rel_tol=6e-3, abs_tol=6e-4 if text.endswith('%') else 0), (exact, text)
  shown = dict((text, exact) for exact, text in page.data)
  for text in ('91.2 %', '81.2 %', '0.346', '43.8 %', '1.54', '1,663,370', '0.012345678', '1,312', '2 min 10 s'):
    assert text in shown
  assert '1' in {text for exact, text in page.data if exact == 1.0}  # A count is no percentage.


def test_the_whole_promise_is_drawn_beside_what_the_audit_measured(tmp_path):
  profile = profiles.section(profiles.Promise(mu=1.0, population=5000), 1e-4, unit='client')
  content = make_report(audit={f'membership by loss: {privacy_profile.FOUND}': 0.0173, 'membership by loss: AUC': 0.5})
  content['privacy'] |= {'profile': profile.to_json(), 'delta': 1e-4}
  page = write(tmp_path, content, None)
  text = ''.join(page.text)
  # 9.24 % and 1.83 %: the normal probability beyond 2.326 - 1 and 3.09 - 1.
  for said in ('μ of Gaussian differential privacy, exactly', 'members found at 1 % false alarms, at most', '9.24 %',
               '1.83 %', 'Warning: delta = 0.0001 is weak for 5000 clients'):
    assert said in text
  assert {exact for exact, _ in page.data} <= numbers_of(content) | {21.5 / 3, 101.25, 130.0, 0.2, 10.0}
  assert 'membership by loss: found at 1 % false alarms: 1.73 %' in privacy_profile.describe(
      ledger.of_report(content), privacy_profile.measured(content))
  # The table of the mechanism does not list the curve's points.
  assert 'profile:' not in text and 'epsilon: 0' not in text
  stated = ledger.of_report(content)
  assert privacy_profile.card(stated)['μ of Gaussian differential privacy, exactly'] == '1'
  of_examples = privacy_profile.card(dataclasses.replace(stated, unit='example'))
  assert any('of an example' in name for name in of_examples) and not any('a example' in name for name in of_examples)
  assert privacy_profile.table(make_report()) is None and privacy_profile.card(ledger.NoGuarantee()) is None


def test_warnings_stand_once_and_no_empty_section_tells_that_there_are_none(tmp_path):
  assert 'Warnings' not in ''.join(write(tmp_path, make_report(warnings=[]), None).text)
  warned = ''.join(write(tmp_path, make_report(warnings=['the model has learned nothing']), None).text)
  assert warned.count('the model has learned nothing') == 1


def test_epsilon_stands_with_its_conditions_and_not_without_one(tmp_path):
  text = ''.join(write(tmp_path, make_report(), None).text)
  for condition in ('delta: 1e-05', 'unit: client', 'add or remove one client', 'poisson, rate 0.5', 'PLD'):
    assert condition in text
  assert 'no privacy guarantee' not in text
  stated = make_report()['privacy']
  for condition in ('mechanism', 'epsilon', 'delta', 'unit', 'relation', 'sampling', 'accountant', 'rounds'):
    with pytest.raises(ValueError, match=f'lacks {condition}'):
      write(tmp_path, make_report(privacy={key: value for key, value in stated.items() if key != condition}), None)
  for none in ({'mechanism': 'none'}, None, {**stated, 'epsilon': math.inf}, {**stated, 'epsilon': 'inf'}):
    assert 'no privacy guarantee' in ''.join(write(tmp_path, make_report(privacy=none), None).text)


@pytest.mark.parametrize('multi_label', [False, True])
def test_hostile_names_stay_text_and_nothing_is_fetched(tmp_path, multi_label):
  data = make_images(HOSTILE, multi_label=multi_label)
  content = make_report(dataset={'name': HOSTILE[0], 'notes': HOSTILE, 'class_names': HOSTILE},
                        secure_sum={'scheme': HOSTILE[0], HOSTILE[1]: {'deep': [1, HOSTILE[2]]}},
                        model={'name': HOSTILE[1], 'parameters': 'many'}, environment={HOSTILE[0]: HOSTILE[1]})
  page = write(tmp_path, content, data)
  tags = {tag for tag, _ in page.elements}
  assert not tags & {'script', 'link', 'iframe', 'object', 'b'}
  assert not any(name.startswith('on') for _, attrs in page.elements for name in attrs)
  text = ''.join(page.text)
  assert HOSTILE[0] in text and '{{ 7 * 7 }}' in text
  pictures = [uri for uri in page.uris if uri.startswith('data:image/png;base64,')]
  assert pictures and set(page.uris) == set(pictures), 'beside the page there is no run to link to'
  for uri in pictures:
    assert base64.b64decode(uri.split(',')[1], validate=True).startswith(b'\x89PNG\r\n\x1a\n')
  assert not re.search(r'url\(|@import|https?:', (tmp_path / 'report.html').read_text())
  assert all(page.alts)


@pytest.mark.parametrize('rounds,data', [
    (1, make_images(clients=3, shape=(224, 224, 3))),
    (1000, make_images([f'class {i}' for i in range(120)], clients=150, dtype=np.float32)),
    (2, make_images(clients=2, shape=(8, 12, 2))),
    (2, None)])
def test_any_shape_of_run_is_drawn(tmp_path, rounds, data):
  page = write(tmp_path, make_report(rounds), data)
  text = ''.join(page.text)
  assert ('120 of all clients' in text) == (data is not None and len(data.train) == 150)
  assert ('training images' in text) and ('A sample of training images' in text) == (data is not None)
  assert len([tag for tag, _ in page.elements if tag == 'tr']) < 200


def test_every_part_may_be_missing_or_null(tmp_path):
  whole = make_report()
  for key in whole:
    write(tmp_path, {k: v for k, v in whole.items() if k != key}, None)
    write(tmp_path, {**whole, key: None}, None)
  write(tmp_path, {}, None)
  sparse = [{'round': 1, 'train': None, 'evaluation': {'accuracy': None, 'loss': math.nan}}, {'round': 2}, {}]
  write(tmp_path, make_report(history=sparse, per_client={'count': 0, 'accuracies': [None]}), make_images())


def test_unknown_sections_become_tables(tmp_path):
  text = ' '.join(write(tmp_path, make_report(
      communication={'upload_mb': 1.25, 'by_layer': {'dense': 7}}, hospitals=[{'name': 'north', 'auc': 0.9625},
                                                                              {'name': 'coast', 'accuracy': 0.5}],
      remark='two words'), None).text)
  for shown in ('Communication', 'upload mb', '1.25', 'by layer: dense', 'Hospitals', 'north', '0.963', '50.0 %',
                'Remark', 'two words'):
    assert shown in text


def test_class_mix_counts_what_clients_hold():
  examples = images.Examples(np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 0, 1, 2], np.int32))
  data = images.FederatedImages(
      name='n', class_names=['a', 'b', 'c'], test=images.HeldOut(examples=examples, clients=[]),
      train=images.ArrayClients(examples, [np.array([0, 1, 2, 3]), np.array([3]), np.array([], int)], ['x', 'y', 'z']))
  mix = partition.class_mix(data)
  np.testing.assert_array_equal(mix.shares, [[.5, .25, .25], [0, 0, 1], [0, 0, 0]])
  np.testing.assert_array_equal(mix.sizes, [4, 1, 0])
  assert partition.commonest_share(data) == 0.5
  sample = partition.sample_images(data)
  assert [(row['client'], [i['label'] for i in row['images']]) for row in sample] == [
      ('x', ['a', 'a', 'b', 'c']), ('y', ['c'])]


def test_sampled_images_show_the_stored_pixels():
  for dtype, top in ((np.uint8, 255), (np.float32, 1)):
    x = (np.array([[0, 51], [102, 255]]) * (top / 255)).astype(dtype)[None, ..., None]
    examples = images.Examples(x, np.zeros(1, np.int32))
    data = images.FederatedImages(name='n', class_names=['a'], train=images.ArrayClients(examples, [[0]], ['c']),
                                  test=images.HeldOut(examples=examples, clients=[]))
    [row] = partition.sample_images(data)
    shown = image.imread(io.BytesIO(row['images'][0]['png']))
    np.testing.assert_allclose(shown[..., 0], [[0, .2], [.4, 1]], atol=1e-3)


def test_a_report_read_back_from_json_gives_the_same_tables():
  content = make_report()
  read = json.loads(json.dumps(content))
  for table in (tables.results, clients.summary, costs.time, costs.resources, settings.changed, settings.every):
    assert table(content) == table(read)


def test_page_replaces_the_older_one_only_when_it_is_whole(tmp_path, monkeypatch):
  path = tmp_path / 'report.html'
  path.write_text('old')
  monkeypatch.setattr(tables, 'results', lambda report: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    page_lib.write_html(path, make_report(), None)
  assert path.read_text() == 'old'
