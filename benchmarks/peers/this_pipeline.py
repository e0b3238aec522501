"""This pipeline, with its defaults.

    python -m benchmarks.peers.this_pipeline WORKLOAD [bfloat16]
"""

import itertools
import sys
from collections.abc import Callable

import numpy as np

import tff_vision as tv
from benchmarks.peers import protocol, workload
from tff_vision.data import images


def main() -> None:
  settings = {'math': sys.argv[2]} if len(sys.argv) > 2 else {}
  with tv.open_runtime(tv.RuntimeConfig(**settings)):
    protocol.serve(build(protocol.requested()))


def build(work: workload.Workload) -> Callable[[], None]:
  """Returns a function that runs one round, on the open runtime."""
  private = {'privacy': tv.ExampleDpSgd(clip_norm=work.clip_norm, noise_multiplier=work.noise_multiplier, delta=1e-5)
             } if work.kind == 'dp' else {}
  trainer = tv.Experiment(
      tv.Task(_images(work), model='resnet18_gn' if work.kind == 'cifar' else 'cnn_dropout'), rounds=1000,
      participation=tv.Fixed(work.clients), **private,
      client=tv.Client(tv.sgd(work.learning_rate), epochs=1, batch_size=work.batch_size)).prepare()
  state, rounds = [trainer.begin()], itertools.count(1)

  def run_round():
    state[0] = trainer.next(state[0], next(rounds), range(work.clients)).state

  return run_round


def _images(work: workload.Workload) -> images.FederatedImages:
  pool = images.Examples(*work.data())
  indices = np.split(np.arange(work.images), work.clients)
  return images.FederatedImages(
      name='noise', spec=images.ImageSpec.of(pool, list(map(str, range(work.classes)))),
      train=images.ArrayClients(pool, indices, [str(i) for i in range(work.clients)]))


if __name__ == '__main__':
  main()
