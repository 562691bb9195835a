"""Multilingual speech recognition: one shared trunk, a CTC head per language. Huang et al. 2013.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mtl import Model, Stream, Task, evaluate, fit
from mtl.config import Fit
from mtl.data.augment import Augment
from mtl.data.cache import Cache
from mtl.data.manifest import read_manifest
from mtl.data.speech import Speech, describe_skips, screen
from mtl.data.synthetic import make_corpus
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.stems.logmel import LogMel
from mtl.text import TextRules, normalise, symbols
from mtl.trunks.conformer import Conformer
