"""Where the clients' work is done."""

from tff_vision.catalogue.rows import How, Kind, Limit, Row, Trait

_DEVICES = ('devices', 'clients_per_device')
_OF_EXECUTORS = (Limit('math', 'executors compute in float32 or bfloat16', ('float32', 'bfloat16')),)
_EITHER = (Limit('math', 'executors and devices compute differently in it: choose one of them', ('float32',)),)
RUNTIMES = Kind.of('runtime', (
    Row('local', 'one executor on this machine', limits=_OF_EXECUTORS,
        loads='tff_vision.runtime.driver.local:local_place'),
    Row('device', 'this process, on its GPUs or its processor', reads=(*_DEVICES, 'jit', 'stacked_clients'),
        loads='tff_vision.runtime.driver.device:device_place'),
    Row('auto', 'device if TensorFlow sees a GPU, otherwise local', reads=_DEVICES, limits=_EITHER,
        loads='tff_vision.runtime.driver.device:chosen_place'),
    Row('workers', 'those of --workers, or --local_workers of them', traits=frozenset((Trait.ON_WORKERS,)),
        limits=_OF_EXECUTORS, loads='tff_vision.runtime.driver.remote:remote_runtime'),
))
TRACKERS = Kind.of('tracker', (
    Row('none', 'report and TensorBoard only'),
    Row('mlflow', 'MLflow: files, or the server of MLFLOW_TRACKING_URI', reads=('tracker_dir',),
        loads='tff_vision.trackers.mlflow_tracker:MlflowTracker'),
    Row('wandb', 'Weights & Biases: offline files, or as WANDB_MODE says', reads=('tracker_dir',),
        loads='tff_vision.trackers.wandb_tracker:WandbTracker'),
))
DATA_PLACEMENTS = Kind.of('data_placement', (
    Row('driver', 'examples are sent by the driver'),
    Row('worker', 'the worker reads examples from its own disk', traits=frozenset((Trait.DATA_ON_WORKERS,)),
        reads=('worker_data_dir', 'clients_on_workers'),
        limits=(Limit('runtime', 'a local run reads the data itself', ('workers',), How.NEEDS),
                Limit('audit_canaries', 'the mark of a canary travels with its examples, and a canary has no file on a '
                                        'worker'))),
))
