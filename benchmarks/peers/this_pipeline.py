"""This pipeline, with its defaults.

    python -m benchmarks.peers.this_pipeline WORKLOAD [bfloat16]
"""

import itertools
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.peers import protocol, workload
from tff_vision import configs, models, tasks
from tff_vision.aggregation import stack
from tff_vision.configs import runtime_config
from tff_vision.data import images
from tff_vision.learning import learning_process
from tff_vision.privacy import plan as plan_lib
from tff_vision.runtime.driver import runtimes


def main() -> None:
  settings = {'math': sys.argv[2]} if len(sys.argv) > 2 else {}
  with runtimes.open_runtime(runtime_config.RuntimeConfig(**settings)):
    protocol.serve(build(protocol.requested()))


def build(work: workload.Workload) -> Callable[[], None]:
  """Returns a function that does one round, on the runtime that is open."""
  client = configs.ClientConfig(client_epochs=1, client_learning_rate=work.learning_rate, batch_size=work.batch_size)
  task = _task(work, client)
  plan = _plan(work, client).for_model(task.keras_model(), task.batch_spec[0])
  made = learning_process.build_process(
      task, algorithm=configs.AlgorithmConfig(), client=client, server=configs.ServerConfig(),
      aggregator=stack.build_stack(plan), private_training=plan.client_work)
  state = [made.set_model_weights(made.initialize(), task.initial_weights())]
  rounds = itertools.count(1)

  def run_round():
    round_num = next(rounds)
    state[0] = made.next(state[0], [task.client_element(i, round_num) for i in range(work.clients)]).state

  return run_round


def _task(work: workload.Workload, client: configs.ClientConfig) -> tasks.Task:
  pool = images.Examples(*work.data())
  indices = np.split(np.arange(work.images), work.clients)
  made = images.FederatedImages(
      name='noise', class_names=[str(i) for i in range(work.classes)],
      train=images.ArrayClients(pool, indices, [str(i) for i in range(work.clients)]),
      test=images.HeldOut(examples=pool.take(np.arange(10)), clients=[]))
  name = 'resnet18_gn' if work.kind == 'cifar' else 'cnn_dropout'
  return tasks.Task(images=made, model_builder=models.MODELS[name], client=client, seed=0)


def _plan(work, client):
  privacy = configs.PrivacyConfig() if work.kind != 'dp' else configs.PrivacyConfig(
      privacy='example_dp_sgd', clip_norm=work.clip_norm, noise_multiplier=work.noise_multiplier, delta=1e-5)
  return plan_lib.build_plan(privacy, configs.CohortConfig(cohort_size=work.clients), population=work.clients,
                             rounds=1000, seed=0, sizes=[work.examples] * work.clients, client=client)


if __name__ == '__main__':
  main()
