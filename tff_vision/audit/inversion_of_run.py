"""What one client's update gives away of an image: plain, with the run's noise, and as a masked upload shows it."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tff_vision import tasks
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.audit import gradient_matching, inversion
from tff_vision.data import preprocess


def of_run(task: tasks.Task, ledger: ledger_lib.Statement, path: pathlib.Path, *, steps: int) -> Mapping[str, Any]:
  """Writes the picture; returns correlations with the true image, or why the attack does not apply.

  Args:
    ledger: The ledger of the finished run; its noise is simulated.
    path: The PNG file to write.
    steps: Number of search steps, for models that do not begin with a dense layer.

  Returns:
    `picture`, `method` and `correlation` for each kind of update; or `skipped`.
  """
  model = task.keras_model()
  task.initial_weights().assign_weights_to(model)
  if task.images.multi_label:
    return {'skipped': 'the attack infers one label from one update; these images have several findings each.'}
  example = task.images.train.examples(0)
  x = np.asarray(preprocess.evaluation_fn(task.images.preprocessing, example.x[:1]))
  update = inversion.gradient(model, task.loss_fn, x, example.y[:1])
  noise, clip_norm = ((ledger.noise_multiplier or 0.0, ledger.clip_norm) if isinstance(ledger, ledger_lib.Ledger)
                      else (0.0, 1.0))
  noised = inversion.noised(update, clip_norm=clip_norm, noise_multiplier=noise, seed=0)
  updates = {'plain': update, 'noised': noised, 'masked': inversion.masked(update)}
  if not noise:
    del updates['noised']
  method, attack = _attack(model, task.loss_fn, steps)
  images = {'the example': x[0], **{f'from the {name} update': attack(seen) for name, seen in updates.items()}}
  _draw(images, path)
  # An image of one constant value has no correlation; numpy returns NaN for it.
  return {'picture': str(path), 'method': method, 'correlation': {
      name: float(np.nan_to_num(np.corrcoef(image.ravel(), x.ravel())[0, 1])) for name, image in images.items()}}


def _attack(model, loss_fn, steps) -> tuple[str, Callable[[list[np.ndarray]], np.ndarray]]:
  """Returns the name of the attack on this model, and the function from an update to an image."""
  try:
    inversion.first_dense(model)
  except ValueError:
    return 'gradient matching', lambda seen: gradient_matching.reconstruct(model, loss_fn, seen, steps=steps, seed=0)[0]
  return 'closed form', lambda seen: inversion.reconstruct(model, seen)


def _draw(images, path):
  import matplotlib
  matplotlib.use('Agg')
  from matplotlib import pyplot
  figure, axes = pyplot.subplots(1, len(images), figsize=(2.6 * len(images), 2.9), layout='constrained')
  for axis, (name, image) in zip(axes, images.items(), strict=True):
    low, high = image.min(), image.max()
    axis.imshow((image - low) / max(high - low, 1e-12), cmap='gray')
    axis.set_title(name, fontsize=9)
    axis.set_axis_off()
  figure.savefig(path, dpi=110)
  pyplot.close(figure)
