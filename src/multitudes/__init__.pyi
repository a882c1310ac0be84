# The public names and where each is defined; __init__.py reads this file and loads a name when it is first used.
from .batch_inference.recommender import BatchConfig as BatchConfig
from .batch_inference.runner import recommend_all as recommend_all
from .client.client import Client as Client
from .data.engine_config import EngineConfig as EngineConfig
from .data.importing.config import ImportConfig as ImportConfig
from .data.importing.importer import import_files as import_files
from .data.prepare import PrepareConfig as PrepareConfig
from .data.prepare import prepare as prepare
from .data.prepared import PreparedData as PreparedData
from .data.sample import sample_path as sample_path
from .evaluation.compare import compare as compare
from .evaluation.config import EvaluateConfig as EvaluateConfig
from .evaluation.evaluate import evaluate as evaluate
from .index.factory import IndexConfig as IndexConfig
from .linear.run import LinearConfig as LinearConfig
from .linear.run import make_linear_run as make_linear_run
from .nn.user_tower_config import UserTowerConfig as UserTowerConfig
from .pinnersage.clustering import PinnerSageConfig as PinnerSageConfig
from .progress import ProgressBar as ProgressBar
from .publishing.publish import publish as publish
from .retrieval.config import RetrieveConfig as RetrieveConfig
from .retrieval.item_updates import add_items as add_items
from .retrieval.item_updates import remove_items as remove_items
from .retrieval.release_watcher import ReleaseWatcher as ReleaseWatcher
from .retrieval.request import Degradation as Degradation
from .retrieval.request import Request as Request
from .retrieval.retriever import Retriever as Retriever
from .state.store import open_state_store as open_state_store
from .training.combined import combine as combine
from .training.config import RunConfig as RunConfig
from .training.config import TrainConfig as TrainConfig
from .training.loop import train as train
from .training.runs import make_pinnersage_run as make_pinnersage_run
from .training.runs import open_run as open_run
from .training.trained_run import TrainedRun as TrainedRun

__all__: list[str]
__version__: str
