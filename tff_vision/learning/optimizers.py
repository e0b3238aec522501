"""Client and server optimizers by name, with the constants of the federated literature.

Server adaptivity: Reddi et al., "Adaptive Federated Optimization", ICLR 2021: `sgdm` is FedAvgM (momentum
0.9), `adam`, `yogi` and `adagrad` are FedAdam, FedYogi and FedAdagrad with tau = 1e-3 and beta = (0.9, 0.99).
"""

from collections.abc import Callable, Mapping

import tensorflow_federated as tff

OptimizerFn = Callable[[float], tff.learning.optimizers.Optimizer]

_MOMENTUM = 0.9
_TAU = 1e-3
_BETA_2 = 0.99

CLIENT_OPTIMIZERS: Mapping[str, OptimizerFn] = {
    'sgd': lambda rate: tff.learning.optimizers.build_sgdm(rate),
    'sgdm': lambda rate: tff.learning.optimizers.build_sgdm(rate, momentum=_MOMENTUM),
    'adam': lambda rate: tff.learning.optimizers.build_adam(rate),
}

SERVER_OPTIMIZERS: Mapping[str, OptimizerFn] = {
    'sgd': lambda rate: tff.learning.optimizers.build_sgdm(rate),
    'sgdm': lambda rate: tff.learning.optimizers.build_sgdm(rate, momentum=_MOMENTUM),
    'adam': lambda rate: tff.learning.optimizers.build_adam(rate, beta_2=_BETA_2, epsilon=_TAU),
    'yogi': lambda rate: tff.learning.optimizers.build_yogi(
        rate, beta_2=_BETA_2, epsilon=_TAU, initial_preconditioner_value=_TAU**2),
    # This one's epsilon stands under the root.
    'adagrad': lambda rate: tff.learning.optimizers.build_adagrad(
        rate, initial_preconditioner_value=_TAU**2, epsilon=_TAU**2),
}
