"""Checks exported files with the ONNX project's own checker and ONNX Runtime.

    check.py FOLDER

FOLDER/cases.json lists files with an input, [N 3 H W], and the logits that the
layout's own code gives for it, [N classes], both as raw little-endian float32.
Prints a line per file; the exit status is 1 if a file is invalid or differs.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

TOLERANCE = 1e-4  # of max |logit|


def check(folder, case):
    path = str(folder / case["file"])
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)

    images = np.fromfile(folder / case["input"], "<f4").reshape(case["shape"])
    want = np.fromfile(folder / case["logits"], "<f4").reshape(len(images), -1)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    step = case["batch"] or len(images)
    got = np.concatenate([session.run(["logits"], {"input": images[i : i + step]})[0] for i in range(0, len(images), step)])

    error = np.abs(got - want).max() / np.abs(want).max()
    snr = 10 * np.log10((want.astype("f8") ** 2).sum() / ((got.astype("f8") - want) ** 2).sum())
    print(f"{case['file']}: max |Δ| / max |logit| {error:.2e}, SNR {snr:.1f} dB, {len(model.graph.node)} nodes")
    return error <= TOLERANCE


folder = pathlib.Path(sys.argv[1])
results = [check(folder, case) for case in json.loads((folder / "cases.json").read_text())]
sys.exit(0 if results and all(results) else 1)
