"""Card: the README.md of a saved model, which the hub reads. Mitchell et al. 2019."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from mtl.head import Head
from mtl.metrics import METRICS
from mtl.model import Model

SHOWN = 10  # classes that are named
_BODY = """
# {name}

One network for {count} task(s), made with mtl: a shared trunk and a head per task, {size:.2f} million
parameters in all.

| task | reads | gives |
|---|---|---|
{tasks}

## Use

```python
import mtl

model = mtl.load("{name}")
print(model("{example}"))
```

`mtl.Model.from_pretrained` gives the network itself, to train on or to add tasks to.

## Results

Fractions in per cent, with 95 % intervals{on}.

| task | examples | metric | result | interval |
|---|---|---|---|---|
{results}
"""


def model_card(
    model: Model,
    tasks: Mapping[str, Mapping[str, Any]],
    name: str = "model",
    *,
    dataset: str = "",
    **header: Any,
) -> str:
    """Write the card: what the model does, how to use it, and `tasks`, the figures of an evaluation.

    `name` is the hub id or folder, `dataset` says what the figures were measured on; `header` goes to
    `huggingface_hub.ModelCardData`: license, language, datasets, base_model. The header holds a result
    entry for each task. Give the text to `Model.save_pretrained` or `Model.push_to_hub`.
    """
    shown = [task for task in model.tasks.values() if not task.auxiliary]
    kinds = list(dict.fromkeys(_kind(model, task.name) for task in shown))
    results = list(_results(model, tasks, dataset or "unnamed"))
    data = ModelCardData(
        library_name="mtl",
        pipeline_tag=kinds[0] if kinds else None,
        tags=["multi-task-learning", *kinds],
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=name,
        eval_results=results or None,
        **header,
    )
    body = _BODY.format(
        name=name,
        count=len(shown),
        size=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        tasks="\n".join(_line(t.name, t.stream, _gives(model.head(t.name))) for t in shown),
        example="photo.png" if kinds[:1] == ["image-classification"] else "recording.wav",
        on=f", on {dataset}" if dataset else "",
        results="\n".join(_rows(tasks)),
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n{body}"))


def _results(
    model: Model, tasks: Mapping[str, Mapping[str, Any]], dataset: str
) -> Iterator[EvalResult]:
    """Give one result per metric; those of a task make up one entry, as they share its `config`."""
    for task, figures in tasks.items():
        for metric in (name for name in METRICS if name in figures):
            yield EvalResult(
                task_type=_kind(model, task),
                task_name=task,
                dataset_type=dataset,
                dataset_name=f"{dataset} ({task})",
                dataset_config=task,
                dataset_args={"examples": figures["n"]},
                metric_type=metric,
                metric_name=metric if METRICS[metric].scale else f"{metric} in per cent",
                metric_value=round(_times(metric) * figures[metric], 2),
            )


def _rows(tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for task, figures in tasks.items():
        for metric in (name for name in METRICS if name in figures):
            low, high = figures.get(f"{metric}_interval") or (-math.inf, math.inf)
            bounded = math.isfinite(low) and math.isfinite(high)
            times = _times(metric)
            interval = f"{times * low:.1f} to {times * high:.1f}" if bounded else ""
            yield _line(task, figures["n"], metric, f"{times * figures[metric]:.2f}", interval)


def _times(metric: str) -> int:
    """Give 100 for fractions, which are shown in per cent, and 1 for what has a unit."""
    return 1 if METRICS[metric].scale else 100


def _line(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _gives(head: Head) -> str:
    """Say what a head answers with."""
    classes = getattr(head, "classes", None)
    if classes is not None:
        some = ", ".join(map(str, classes[:SHOWN]))
        which = "any" if "f1" in head.metrics else "one"
        return f"{which} of {len(classes)} classes: {some}{', ...' * (len(classes) > SHOWN)}"
    symbols = getattr(head, "symbols", None)
    return f"text in {len(symbols)} symbols" if symbols is not None else type(head).__name__


def _kind(model: Model, task: str) -> str:
    """Give the hub's name for a kind of task."""
    if {"cer", "per"} & {*model.head(task).metrics}:
        return "automatic-speech-recognition"
    sound = model.tasks[task].stream == "speech"
    return f"{'audio' if sound else 'image'}-classification"
