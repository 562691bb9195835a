"""A model that writes down tones: each symbol is a tone of its own, a stretch of 60 ms."""

import numpy as np
import soundfile
import torch

from mtl.batch import Features
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.model import Model

HZ = 8000
HOP = 160  # samples: 50 frames a second
SYMBOLS = list(" abcdefg")
TONES = [300.0 + 250.0 * index for index in range(len(SYMBOLS))]  # Hz
LASTS, STEP = 0.06, 0.1  # seconds of a tone, and from one to the next
EDGE = 15  # frames at either end of what it hears at once in which it errs


class Ear(Encoder):
    """How loud each tone is: samples (N,) to frames (T, 1 + symbols), the first for none.

    With `deaf` it writes "g" over and over in the first and last frames of what is longer than 2 s, as a
    network errs that lacks the context.
    """

    hz, frames_per_second = HZ, HZ / HOP

    def __init__(self, deaf: bool = False) -> None:
        super().__init__(len(TONES) + 1)
        self.deaf = deaf

    def prepare(self, raw):
        frames = torch.nn.functional.pad(raw, (0, -len(raw) % HOP)).view(-1, HOP).double()
        t = torch.arange(HOP, dtype=torch.double) / HZ
        waves = torch.exp(2j * torch.pi * t[:, None] * torch.tensor(TONES, dtype=torch.double))
        power = (frames.to(torch.complex128) @ waves).abs() * 2 / HOP
        heard = torch.cat([torch.full((len(power), 1), 0.1), power], 1).float()
        if self.deaf and len(heard) > 100:
            wrong = torch.eye(self.dim)[-1] * (torch.arange(EDGE) % 3 == 0)[:, None]
            heard[:EDGE] = heard[-EDGE:] = wrong
        return heard


class Same(Encoder):
    """A trunk that does nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def leave(self, flow):
        return Features(flow.x, flow.lengths)


def model(deaf=False, languages=("cy",), says=0):
    """Writes tones in each language; the second language has the letters in capitals."""
    ear = Ear(deaf)
    heads = [CTC(SYMBOLS), CTC([symbol.upper() for symbol in SYMBOLS])]
    tasks = [Task(name, "speech", heads[index]) for index, name in enumerate(languages)]
    if len(languages) > 1:
        tasks.append(Task("language", "speech", Classify([*languages, "xx"])))
    made = Model({"speech": ear}, Same(ear.dim), tasks)
    with torch.no_grad():
        for name in languages:
            made.head(name).output.weight.copy_(40 * torch.eye(ear.dim))
            made.head(name).output.bias.zero_()
        if len(languages) > 1:
            output = made.head("language").output
            output.weight.zero_()
            output.bias.copy_(5.0 * (torch.arange(len(output.bias)) == says))
    return made.eval()


def text(letters, seed=0):
    """Words of two to five letters."""
    rng = np.random.default_rng(seed)
    words = []
    while sum(map(len, words)) < letters:
        words.append("".join(rng.choice(SYMBOLS[1:], rng.integers(2, 6))))
    return " ".join(words)


def spoken(said, hz=HZ, level=0.5):
    """A text in tones: samples (N,), `STEP` seconds for each symbol."""
    step = round(STEP * hz)
    samples = np.zeros(step * len(said), np.float32)
    t = np.arange(round(LASTS * hz)) / hz
    for place, symbol in enumerate(said):
        tone = level * np.sin(2 * np.pi * TONES[SYMBOLS.index(symbol)] * t)
        samples[place * step : place * step + len(t)] = tone
    return samples


def times(said, offset=0.0):
    """Words with where they start and end."""
    found, place = [], 0
    for word in said.split(" "):
        start = offset + STEP * place
        found.append((word, start, start + STEP * (len(word) - 1) + LASTS))
        place += len(word) + 1
    return found


def noise(seconds, hz=HZ, level=1e-3, seed=0):
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * hz))).astype(
        np.float32
    )


def write(path, parts, hz=HZ, channels=1, **options):
    """Write parts (texts, or seconds of silence) one after the other, over noise; where texts start."""
    starts, now = [], 0.0
    with soundfile.SoundFile(path, "w", hz, channels, **options) as file:
        for number, part in enumerate(parts):
            quiet = isinstance(part, float)
            samples = np.zeros(round(part * hz), np.float32) if quiet else spoken(part, hz)
            samples = samples + noise(len(samples) / hz, hz, seed=number)
            starts += [] if quiet else [now]
            now += len(samples) / hz
            file.write(np.repeat(samples[:, None], channels, 1))
    return starts
