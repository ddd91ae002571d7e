"""The Python side of `cargo xtask bench-peer`: one engine, one process.

    python peer_tasks.py ENGINE CHECKPOINT THREADS [DEVICE [PRECISION]]

Loads the checkpoint, on a device (`cpu`, `cuda`) and in a precision (`f32`, `bf16`), runs one forward pass and says so with a line `{"versions": {..}, "peak_mib": ..}`.
From then on each line of standard input is a task and each line of standard output its answer:

    {"task": "zero_all", "clean": [ids], "corrupt": [ids], "answer": id, "wrong": id,
     "cut": [[layer, head], ..], "new_tokens": n}
    {"seconds": .., "values": [..], "peak_mib": ..}

or `{"missing": task}` where the engine does not have it. `{"task": "matmul"}` asks for the time of one
product of large matrices.

Only the task itself is timed, from token ids in a tensor to a tensor of results. What libraries print besides
goes to standard error. ENGINE is `torch` (torch_tasks.py), or `tl4` or `tl3` (transformer_lens_tasks.py).
"""

import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# Before anything that could print, or be kept compiled beside this file.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sys.dont_write_bytecode = True
os.environ["HF_HUB_OFFLINE"] = "1"

import torch


@dataclass
class Request:
    """A task with its inputs; prompts are [1, pos]."""

    task: str
    clean: torch.Tensor
    corrupt: torch.Tensor
    answer: int
    wrong: int
    cut: list[tuple[int, int]]
    new_tokens: int

    @staticmethod
    def of(fields: dict) -> "Request":
        fields["clean"] = torch.tensor([fields["clean"]])
        fields["corrupt"] = torch.tensor([fields["corrupt"]])
        fields["cut"] = [(layer, head) for layer, head in fields["cut"]]
        return Request(**fields)


def say(line: dict) -> None:
    print(json.dumps(line), file=ANSWERS, flush=True)


def peak_mib() -> int | None:
    """The most memory this process has held, where the system says."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def product_seconds(device: str, dtype: torch.dtype) -> float:
    """One product of 2048 x 2048 matrices, which says how fast the machine is."""
    a = torch.ones(2048, 2048, device=device, dtype=dtype)
    done(device)
    begun = time.perf_counter()
    a @ a
    done(device)
    return time.perf_counter() - begun


def done(device: str) -> None:
    """A GPU may not have come to the end of what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def main() -> None:
    engine, checkpoint, threads, *rest = sys.argv[1:]
    device = rest[0] if rest else "cpu"
    dtype = torch.bfloat16 if rest[1:] == ["bf16"] else torch.float32
    torch.set_num_threads(int(threads))
    torch.set_grad_enabled(False)
    module = importlib.import_module("torch_tasks" if engine == "torch" else "transformer_lens_tasks")
    torch.set_default_device(device)
    model = module.Model(engine, Path(checkpoint), device, dtype)
    model.forward(Request("forward", torch.tensor([[1, 2, 3, 4]]), torch.tensor([[]]), 0, 0, [], 0))
    say({"versions": {"torch": torch.__version__, **module.versions()}, "peak_mib": peak_mib()})
    for line in sys.stdin:
        fields = json.loads(line)
        if fields["task"] == "matmul":
            say({"seconds": product_seconds(device, dtype), "values": []})
            continue
        task = getattr(model, fields["task"], None)
        if task is None:
            say({"missing": fields["task"]})
            continue
        request = Request.of(fields)
        begun = time.perf_counter()
        found = task(request)
        done(device)
        seconds = time.perf_counter() - begun
        say({"seconds": seconds, "values": found.flatten().tolist(), "peak_mib": peak_mib()})


main()
