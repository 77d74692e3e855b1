"""Writes the tiny checkpoints of this folder and expected.json, what torch and safetensors themselves read from them.

    python make.py        (torch, numpy, safetensors)
"""
import argparse
import collections
import json
import math
import os
import pathlib

import numpy as np
import safetensors.torch
import torch

os.chdir(os.path.dirname(os.path.abspath(__file__)))
torch.manual_seed(0)
expected = {}


def value(v):
    v = float(np.float32(v))
    return v if math.isfinite(v) else str(v)


def expect(file, format, weights, metadata):
    expected[file] = {
        "format": format,
        "metadata": metadata,
        "tensors": [
            {
                "name": k,
                "dtype": str(v.dtype).removeprefix("torch."),
                "shape": list(v.shape),
                "values": [value(x) for x in v.detach().reshape(-1).tolist()],
            }
            for k, v in weights.items()
        ],
    }


def save(file, object, weights, metadata, legacy=False, **how):
    torch.save(object, file, _use_new_zipfile_serialization=not legacy, **how)
    expect(file, "torch-legacy" if legacy else "torch", weights, metadata)


base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
tied = torch.randn(3, 2)
special = [0.0, -0.0, 1.0, -2.5, 65504.0, 6.1e-5, 6e-8, -6e-8, float("inf"), float("-inf"), float("nan")]
attributed = torch.nn.Parameter(torch.tensor([7.0, 8.0]))
attributed.no_weight_decay = True
tagged = torch.tensor([9.0])
tagged.tag = "x"
dtypes = collections.OrderedDict(
    float32=torch.tensor([1e-45, 3.4e38, *special]),
    float16=torch.tensor(special, dtype=torch.float16),
    bfloat16=torch.tensor([3.3e38, *special], dtype=torch.bfloat16),
    float64=torch.tensor([math.pi, 1e300, *special], dtype=torch.float64),
    int64=torch.tensor([0, -1, 2**62, -(2**63), 16777217]),
    int32=torch.tensor([0, -1, 2**31 - 1], dtype=torch.int32),
    int16=torch.tensor([0, -1, 32767, -32768], dtype=torch.int16),
    int8=torch.tensor([0, -1, 127, -128], dtype=torch.int8),
    uint8=torch.tensor([0, 1, 255], dtype=torch.uint8),
    bool=torch.tensor([True, False]),
)
unsigned = collections.OrderedDict(
    uint16=torch.tensor([0, 65535], dtype=torch.uint16),
    uint32=torch.tensor([0, 2**32 - 1], dtype=torch.uint32),
    uint64=torch.tensor([0, 2**63], dtype=torch.uint64),
)
views = collections.OrderedDict(
    whole=base,
    rows=base[1:3],
    columns=base[:, 2:4],
    transposed=base.t(),
    permuted=base.reshape(2, 2, 6).permute(2, 0, 1),
    strided=base[::2, 1::2],
    element=base[3, 5],
    expanded=torch.tensor([[1.0], [2.0]]).expand(2, 3),
    empty=torch.zeros(0, 3),
    scalar=torch.tensor(3.5),
    channels_last=torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    tied1=tied,
    tied2=tied,
    parameter=torch.nn.Parameter(torch.tensor([5.0])),
    attributed=attributed,
    tagged=tagged,
)
for file, legacy, protocol in [("zip2", False, 2), ("zip4", False, 4), ("legacy2", True, 2), ("legacy4", True, 4), ("zip5", False, 5)]:
    save(f"dtypes_{file}.pth", dtypes, dtypes, {}, legacy, pickle_protocol=protocol)
    save(f"views_{file}.pth", views, views, {}, legacy, pickle_protocol=protocol)
save("unsigned.pth", unsigned, unsigned, {})

# A training run, with DataParallel's prefix, two wrappers, and most of what else is found in one.
net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
optimizer = torch.optim.AdamW(net.parameters())
net(torch.randn(2, 2, 4, 4)).sum().backward()
optimizer.step()
weights = net.state_dict()
run = {
    "epoch": 7,
    "model": {
        "state_dict": collections.OrderedDict((f"module.{k}", v) for k, v in weights.items()),
        "arch": "edgevit_xxs",
    },
    "optimizer": optimizer.state_dict(),
    "ema": {k: v * 2 for k, v in weights.items()},
    "rng_state": torch.get_rng_state()[:16].clone(),
    "numpy_rng": ("MT19937", np.arange(4, dtype=np.uint32), 3),
    "args": argparse.Namespace(lr=0.1, name="tiny", output=pathlib.PosixPath("/runs/1"), device=torch.device("cuda", 0), dtype=torch.float16),
    "scores": {"f8": np.float64(81.25), "f4": np.float32(0.5), "f2": np.float16(-1.5), "i8": np.int64(-3), "i1": np.int8(-2), "u8": np.uint64(2**64 - 1), "b": np.bool_(True)},
    "none": None,
    "flags": [True, False],
    "big": 2**70,
    "negative": -(2**70),
    "ints": [0, 255, 256, 65536, -1, -(2**31), 2**31, -(2**63)],
    "size": torch.Size([3, 224, 224]),
    "classes": {0: "a", 1: "b"},
    "only": {5},
    "frozen": frozenset([6]),
    "default": collections.defaultdict(list, {"x": [1.5]}),
    "bytes": b"\x80abc",
    "text": "Größe ☃",
}
metadata = {
    "epoch": 7,
    "model": {"arch": "edgevit_xxs"},
    "args": {"lr": 0.1, "name": "tiny", "output": "/runs/1", "device": "cuda:0", "dtype": "torch.float16"},
    "scores": {"f8": 81.25, "f4": 0.5, "f2": -1.5, "i8": -3, "i1": -2, "u8": str(2**64 - 1), "b": True},
    "none": None,
    "flags": [True, False],
    "big": str(2**70),
    "negative": str(-(2**70)),
    "ints": run["ints"],
    "size": [3, 224, 224],
    "classes": {"0": "a", "1": "b"},
    "only": [5],
    "frozen": [6],
    "default": {"x": [1.5]},
    "text": run["text"],
}
for file, legacy, protocol in [("zip2", False, 2), ("zip4", False, 4), ("legacy2", True, 2), ("legacy5", True, 5)]:
    save(f"run_{file}.pth", run, weights, metadata, legacy, pickle_protocol=protocol)

# Without the CRC-32 of each entry, which torch can be told to leave out.
torch.serialization.set_crc32_options(False)
plain = {"weight": torch.tensor([1.0, 2.0])}
save("nocrc.pth", {"state": plain, "task": "image_classification"}, plain, {"task": "image_classification"})
torch.serialization.set_crc32_options(True)
save("plain.pth", {"state": plain, "task": "image_classification"}, plain, {"task": "image_classification"})

tensors = {f"module.{k}": v for k, v in {**dtypes, **unsigned}.items()}
tensors |= {"module.scalar": torch.tensor(3.5), "module.empty": torch.zeros(0, 3), 'module.quo"ted ☃': torch.ones(1, 2)}
notes = {"format": "pt", "text": 'a "b" ☃\n'}
safetensors.torch.save_file(tensors, "library.safetensors", notes)
with safetensors.safe_open("library.safetensors", "pt") as f:
    expect("library.safetensors", "safetensors", {k.removeprefix("module."): f.get_tensor(k) for k in f.offset_keys()}, notes)

with open("expected.json", "w") as f:
    json.dump(expected, f, indent=1, ensure_ascii=False)
