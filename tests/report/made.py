"""Reports and pages of made-up numbers, of every kind that there is."""

import dataclasses

import numpy as np

from tests.hospitals import test_report as test_hospitals
from tests.program import test_comparison, test_report
from tff_vision import configs
from tff_vision.accounting import profiles
from tff_vision.data import images as images_lib
from tff_vision.objectives import mistakes
from tff_vision.report import (
    anomalies,
    data_page,
    data_summary,
    page,
    pictures,
    run_comparison,
    run_comparison_figures,
)
from tff_vision.studies.hospitals import report as hospitals_report

TEN = ('T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot')
FINDINGS = ('Effusion', 'Cardiomegaly', 'Atelectasis', 'Pneumothorax')
ORIGIN = {'date': '2026-11-29 16:20 UTC', 'code_version': '0.2.0, commit f55a3e3a12-dirty', 'host': 'gpu-node-17',
          'command': 'python -m pipelines.train --dataset=fashion_mnist --num_clients=100 --cohort_size=10 --rounds=80 '
                     '--privacy=client_gaussian --target_epsilon=2 --run_dir=runs/fashion',
          'run_dir': 'runs/a_folder_with_quite_a_long_name/of_a_study_in_three_hospitals/seed_0_of_algorithm_fedavg'}


def report(images: images_lib.FederatedImages, *, rounds=40, **changed):
  """Returns a report with every section."""
  rng, y, clients = np.random.default_rng(1), images.test.examples.y, len(images.train)
  if images.multi_label:
    wrong = mistakes.of_findings(rng.normal(size=y.shape) * 1.5 + 3 * y - 2, y)
  else:
    logits = rng.normal(size=(len(y), len(images.class_names)))
    logits[np.arange(len(y)), y] += 2
    wrong = mistakes.of_classes(logits, y)
  content = test_report.make_report(rounds, where_it_is_wrong=wrong, origin=ORIGIN)
  values = [None, *map(float, rng.beta(9, 2, clients - 1))]
  content['per_client'] |= {'metric': 'accuracy', 'accuracies': values}
  content['unseen']['per_client'] = {**content['per_client'], 'accuracies': values[:4]}
  content['dataset'] |= {'class_names': list(images.class_names), 'num_clients': clients}
  profile = profiles.section(profiles.Promise(mu=1.0, population=5000), 1e-4, unit='client')
  content['privacy'] |= {'profile': profile.to_json(), 'delta': 1e-4}
  content['traffic'] = {'bytes_down_per_client_and_round': 6653480, 'bytes_up_per_client_and_round': 6653480}
  content['task'] = {'name': 'classification', 'metric': 'accuracy'}
  if images.multi_label:
    content['evaluation'] |= {'auc': 0.861, 'auc_by_finding': [0.866, 0.9894, 0.5917, 0.994]}
  for record in content['history']:
    record['train'] = {'loss': 1 / record['round'], 'accuracy': 1 - 0.5 / record['round']}
    record['evaluation']['auc'] = record['evaluation']['accuracy']
    record['per_client'] |= {'metric': 'accuracy'}
  content['config'] = configs.readable(configs.ExperimentConfig(
      cohort=configs.CohortConfig(sampling='poisson'),
      privacy=configs.PrivacyConfig(privacy='client_gaussian', target_epsilon=2.0, clip_norm=0.5, delta=1e-4)))
  content['environment'] = {'python': '3.11.9', 'platform': 'Linux-6.1.0-18-amd64-x86_64-with-glibc2.36', 'cores': 2}
  return {**content, **changed}


def write_all(folder):
  """Writes a page of each kind; returns their paths by name."""
  sets = {'classes': test_report.make_images(TEN, clients=8, shape=(28, 28, 1)),
          'findings': test_report.make_images(FINDINGS, clients=4, multi_label=True),
          'many': test_report.make_images([f'class {i}' for i in range(40)], clients=150),
          'few': test_report.make_images(('cat', 'a dog with a long name', '犬の名前'), clients=5)}
  paths = {name: folder / f'{name}.html' for name in (*sets, 'data', 'hospitals', 'comparison', 'live')}
  grey = pictures.png(np.full((8, 8, 1), 128, np.uint8))
  shown = [anomalies.Shown(image=grey, reconstruction=grey, error=grey, truth='scratch', verdict='not reported',
                           score=0.87)] * 3
  for name, images in sets.items():
    if name == 'few':  # Without a promise; audited; resumed; of the task of anomalies.
      content = report(images, rounds=3, privacy={'mechanism': 'none'}, audit={'membership by loss: AUC': 0.5123})
      page.write_html(paths[name], content, images, pictures={'What one update gives away': grey}, anomalies=shown)
    else:
      page.write_html(paths[name], report(images), images)
  held = sets['findings']
  held = dataclasses.replace(held, train=images_lib.ArrayClients(
      held.test.examples, [np.arange(12), np.arange(12, 24)], ['north', 'a hospital with a long name']))
  described = data_summary.describe(held, data_summary.label_counts(held), seed=0)
  data_page.write_html(paths['data'], held, described, title='made, partition=iid')
  groups = run_comparison.group(test_comparison.RUNS, ['runs/first', 'runs/second', 'runs/third'])
  run_comparison.write_html(paths['comparison'], groups, title='Two settings', figures=run_comparison_figures.sweep(
      run_comparison.summary(groups), metric='accuracy'))
  page.write_html(paths['live'], report(sets['few'], rounds=3), sets['few'], live=page.Live(
      state='training', done=3, rounds=40))
  hospitals_report.write_html(paths['hospitals'], {**test_hospitals.made_content(), 'origin': ORIGIN})
  return paths
