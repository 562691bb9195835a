"""Multi-task and transfer learning for speech and images: one trunk, a head per task."""

from mtl.batch import Batch
from mtl.encoder import Encoder
from mtl.head import Head, Task
from mtl.model import Model

__all__ = ["Batch", "Encoder", "Head", "Model", "Task"]
