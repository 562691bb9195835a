"""export: write a saved model as one file that runs without mtl, once it is checked against the model.

The graph takes `inputs`, what the model's stem prepares (log-mel frames, pixels), and `lengths`, frames of
each; batch and length are free. It gives the scores of each task, and for texts how many frames are valid.
ONNX needs the extra 'export' (onnx, onnxruntime, onnxscript); torch.export needs nothing more.

    mtl export --model runs/multilingual_asr/model speech.onnx
    mtl export --model runs/multilingual_asr/model --format torch --tasks nl,de speech.pt2
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mtl.commands import json_option, print_json


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="the file to write")
    add("--model", required=True, metavar="DIR_OR_ID", help="folder of a saved model, or hub id")
    kind = "onnx, or torch for torch.export.load (default: onnx)"
    add("--format", choices=["onnx", "torch"], default="onnx", help=kind)
    add("--stream", metavar="NAME", help="input to take (default: the only one that has tasks)")
    tasks = "tasks to keep, with commas between (default: all of the stream)"
    add("--tasks", metavar="TASK,...", help=tasks)
    add("--speaker", metavar="NAME", help="who is heard, whom `mtl adapt` has met")
    where = "folder that it wrote to (default: speakers/ beside the model)"
    add("--speakers", type=Path, metavar="DIR", help=where)
    json_option(parser)


def run(args: Namespace) -> int:
    """Export, and print what the file takes and gives."""
    from mtl.export import export
    from mtl.load import load

    if args.out.is_dir():
        raise ValueError(f"{args.out} is a folder; name a file, such as {args.out / 'model.onnx'}")
    loaded = load(args.model, device="cpu", speaker=args.speaker, speakers=args.speakers)
    tasks = None if args.tasks is None else [t.strip() for t in args.tasks.split(",") if t.strip()]
    members = {"speaker": loaded.speaker} if loaded.speaker else {}
    how = {"kind": args.format, "stream": args.stream, "tasks": tasks, "members": members}
    done = export(loaded.model, args.out, **how)
    size = args.out.stat().st_size
    if args.json:
        print_json({**done._asdict(), "bytes": size})
        return 0
    print(f"{args.out}\t{size / 1e6:.1f} MB")
    for name, shape in done.inputs.items():
        print(f"  takes {name} ({', '.join(map(str, shape))})")
    print(f"  gives {', '.join(done.outputs)}")
    print(f"  largest difference from the model {done.difference:.1g}")
    return 0
