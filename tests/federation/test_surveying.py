"""A survey beside numpy's numbers of all training images; its noise; its constants in a plan."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.federation import plans
from tff_vision import configs, labels
from tff_vision.data import images as images_lib
from tff_vision.federation import images, survey_page, surveying
from tff_vision.federation import plan as plan_lib
from tff_vision.learning import survey_counts


@pytest.fixture(name='files', scope='module')
def _files(tmp_path_factory):
  found, folder = plans.simulated(), tmp_path_factory.mktemp('survey') / 'data'
  plans.write_files(found, folder)
  return found, folder


def test_sums_are_those_of_all_images_and_show_who_is_apart(files, tff_runtime, tmp_path):
  found, folder = files
  config = plans.experiment(secure=configs.SecureConfig(secure_sum='masks'))
  told = surveying.survey(plans.of(config, found, folder, shares_site_metrics=True), tff_runtime, folder=str(folder))
  parts = [found.train.examples(client) for client in range(4)]
  x, y = np.concatenate([part.x for part in parts]) / 255, np.concatenate([part.y for part in parts])
  assert told['examples'] == len(y) and list(told['labels'].values()) == np.bincount(y, minlength=10).tolist()
  assert told['mean'][0] == pytest.approx(x.mean(), abs=1e-5)
  assert told['deviation'][0] == pytest.approx(x.std(), abs=1e-5)
  expected, _ = np.histogram(np.minimum(x, 1 - 1e-9), bins=64, range=(0, 1))
  np.testing.assert_allclose(told['intensity'][0], expected / expected.sum(), atol=1e-4)
  counts = np.bincount(y, minlength=10)
  own = [np.bincount(part.y, minlength=10) for part in parts]
  away = [np.abs(mine / mine.sum() - (counts - mine) / (counts - mine).sum()).sum() / 2 for mine in own]
  assert told['label_mismatch'] == np.bincount((np.array(away) * 20).astype(int), minlength=20).tolist()
  assert sum(told['intensity_shift']) == 4 and sum(told['intensity_shift'][:5]) == 4
  assert [one['examples'] for one in told['of_sites'].values()] == [len(parts[0]), len(parts[1]) + len(parts[2]),
                                                                   len(parts[3])]
  survey_page.write_html(tmp_path / 'survey.html', told)
  page = (tmp_path / 'survey.html').read_text()
  assert 'site 1' in page and '<script' not in page and page.count('<svg') == 4
  # A client of another scanner and with one class stands apart.
  odd = tmp_path / 'odd'
  plans.write_files(found, odd)
  plans.records.write(odd / plans.records.file_name(3), images_lib.Examples(255 - parts[3].x, 0 * parts[3].y))
  told = surveying.survey(plans.of(plans.experiment(), found, odd), tff_runtime, folder=str(odd))
  assert 'of_sites' not in told and any('intensities' in warning for warning in survey_page.warnings(told))
  assert '--pixel_moments_measured' in surveying.constants(told)
  with pytest.raises(ValueError, match='no site has training images'):
    surveying.survey(plans.of(config, found, tmp_path), tff_runtime, folder=str(tmp_path / 'none'))


def test_noise_is_of_the_stated_size_and_its_epsilon_is_exact(files, tff_runtime):
  found, folder = files
  plan = plans.of(plans.experiment(), found, folder)
  noise = surveying.Noise(multiplier=4.0, delta=1e-5)
  told, *others = (surveying.survey(plan, tff_runtime, folder=str(folder), noise=noise) for _ in range(3))
  # Balle and Wang: delta(epsilon) of a Gaussian of sensitivity 1 and deviation 4.
  epsilon = told['noise']['epsilon']
  delta = stats.norm.cdf(1 / 8 - 4 * epsilon) - np.exp(epsilon) * stats.norm.cdf(-1 / 8 - 4 * epsilon)
  assert delta == pytest.approx(1e-5)
  assert 'label_mismatch' not in told and '--pixel_moments_measured' not in surveying.constants(told)
  counts = survey_counts.Survey(spec=found.spec)
  sigma = 4 * counts.sensitivity
  labels = np.array([list(one['labels'].values()) for one in (told, *others)]) - np.bincount(np.concatenate(
      [found.train.examples(client).y for client in range(4)]), minlength=10)
  # 0.35 to 1.84 deviations: thirty numbers of the kernel are beyond in two of 10^9 runs.
  law = stats.chi2(labels.size)
  assert law.ppf(1e-9) < np.sum((labels / sigma)**2) < law.isf(1e-9)
  for wrong in ({'multiplier': 0.0, 'delta': 0.1}, {'multiplier': 1e-300, 'delta': 0.1},
                {'multiplier': 1.0, 'delta': 0.0}):
    with pytest.raises(ValueError, match='survey_'):
      surveying.Noise(**wrong)


@pytest.mark.parametrize('multi_label, dtype', [(False, np.uint8), (True, np.float32)])
def test_one_image_moves_the_sums_by_no_more_than_the_sensitivity(multi_label, dtype):
  rng = np.random.default_rng(2)
  spec = images_lib.ImageSpec(shape=(5, 4, 3), dtype=dtype, class_names=('a', 'b'),
                              labels=labels.Kind.FINDINGS if multi_label else labels.Kind.CLASS,
                              stored=images_lib.StoredPixels(black=-1.0, white=2.0) if dtype == np.float32 else None)
  counts = survey_counts.Survey(spec=spec)
  for x in (np.zeros((1, 5, 4, 3)), np.full((1, 5, 4, 3), 255), rng.integers(0, 255, (1, 5, 4, 3)),
            np.full((1, 5, 4, 3), np.nan) if dtype == np.float32 else np.ones((1, 5, 4, 3))):
    y = np.ones((1, 2), np.float32) if multi_label else np.array([1], np.int32)
    named = counts.named(counts.of(tf.constant(x.astype(dtype)), tf.constant(y)).numpy())
    moved = np.sqrt(sum(np.square(part).sum() for part in named.values()))
    assert 1 < moved <= counts.sensitivity + 1e-9
    assert named['intensity'].sum() == pytest.approx(3, abs=1e-4)


def test_constants_of_a_survey_make_a_plan_that_standardizes(files, tmp_path):
  found, folder = files
  config = plans.experiment()
  plan = plans.of(config, found, folder)
  described = plan.described() | {'config': plan.described()['config'] | {
      'data': configs.described(config)['data'] | {'dataset': 'plan', 'preprocess': 'standardize', 'num_clients': None,
                                                   'client_validation_fraction': 0.0}}}
  with pytest.raises(ValueError, match='needs pixel_mean and pixel_std'):
    images.of(plan_lib.of(described))
  schema = described['schema'] | {'mean': [0.3], 'std': [0.4], 'measured': True}
  made = images.of(plan_lib.of(described | {'schema': schema})).preprocessing
  assert (made.pixels, made.mean, made.std, made.measured) == ('standardize', (0.3,), (0.4,), True)
