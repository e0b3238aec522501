"""The page of a comparison, from content of the shape that `study.run` makes."""

import re

import numpy as np
import pytest

from tff_vision.studies.hospitals import measures, report, ways

NAMES = ('coast', 'metro')


@pytest.fixture(scope='module')
def content():
  return made_content()


def made_content():
  """Returns a comparison of made-up scores."""
  rng = np.random.default_rng(0)
  y = np.repeat([0, 1], 30)
  drawn = measures.resamples(y, number=20, seed=0)
  keys = {**{ways.alone(name): f'{name} alone' for name in NAMES}, **{key: way.title for key, way in ways.WAYS.items()}}
  found = lambda: measures.measure(drawn, np.clip(0.3 * y + 0.7 * rng.random(60), 0, 1), threshold=0.5)
  ledger = {'mechanism': 'example_dp_sgd', 'epsilon': 3.99, 'delta': 1e-4, 'unit': 'example',
            'relation': 'add or remove one example',
            'sampling': 'poisson', 'accountant': 'PLD', 'rounds': 20, 'noise_multiplier': 0.9, 'clip_norm': 1.0,
            'per_client': [{'examples': 90, 'rounds': 20, 'epsilon_rdp': 4.5, 'epsilon': epsilon}
                           for epsilon in (3.99, 2.71828)]}
  quick = {**ledger, 'per_client': 2 * [{'examples': 90, 'rounds': 20, 'epsilon_rdp': 3.14159}]}  # Of many hospitals.
  return {
      'dataset': '<films>', 'notes': ['drawings'], 'class_names': ['normal', 'abnormal'], 'parameters': 4804,
      'config': {'model': {'model': 'scattering'}}, 'secure_sum': {'encrypted': {'mode': 'he', 'scheme': 'BFV'}},
      'hospitals': [{'hospital': name, 'training_images': 100, 'validation_images': 20, 'test_images': 60,
                     'share_of_second_class': 0.5} for name in NAMES],
      'ways': {key: {'title': title, 'hospitals': {name: found() for name in NAMES}} for key, title in keys.items()},
      'privacy': {'private': ledger, 'private_encrypted': quick},
      'findings': {key: {'behind_pooled': 0.0123, 'ahead_of_foreign': -0.0456} for key in ways.WAYS}}


def test_the_page_holds_every_number_with_its_conditions(content, tmp_path):
  report.write_html(tmp_path / 'report.html', content)
  page = (tmp_path / 'report.html').read_text()
  assert '<films>' not in page and '&lt;films&gt;' in page and '<script' not in page
  for said in ('+0.012', '-0.046', '2.72', '3.14', 'poisson', 'PLD', 'BFV', 'coast alone', 'drawings'):
    assert said in page, said
  for way in content['ways'].values():
    for name in NAMES:
      assert f'{way["hospitals"][name]["auc"]:.3f}' in page
  assert page.count('<svg') == 2 * len(NAMES) and 'data:' not in page.replace('img-src data:', '')
  assert 'gap to pooled, lower is better' in page
  best = max((key for key in ways.WAYS if key != ways.REFERENCE), key=lambda key: sum(
      one['auc'] for one in content['ways'][key]['hospitals'].values()))
  bold, = re.findall(r'<tr class="best"><th.*?>(.*?)</th>', page)
  assert bold == content['ways'][best]['title'] != content['ways'][ways.REFERENCE]['title']
