"""Runs exported files in the TensorFlow Lite interpreter of PyPI's ai-edge-litert.

usage: check.py FOLDER

FOLDER holds NAME.tflite, NAME.input and NAME.logits (float32, little-endian, any
number of images) for every NAME. Prints one line per name: the name and
max |logit - wanted logit| / max |wanted logit|. Needs requirements.txt.
"""

import pathlib
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def difference(model: pathlib.Path) -> float:
    interpreter = Interpreter(str(model), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    images = np.fromfile(model.with_suffix(".input"), "<f4").reshape(-1, *source["shape"])
    wanted = np.fromfile(model.with_suffix(".logits"), "<f4").reshape(-1, *sink["shape"])
    worst = 0.0
    for image, logits in zip(images, wanted, strict=True):
        interpreter.set_tensor(source["index"], image)
        interpreter.invoke()
        worst = max(worst, float(np.abs(interpreter.get_tensor(sink["index"]) - logits).max()))
    return worst / float(np.abs(wanted).max())


for path in sorted(pathlib.Path(sys.argv[1]).glob("*.tflite")):
    print(path.stem, difference(path))
