"""Writes the small .onnx files beside it: files as other programs make them.

Each takes the mean of every channel over the pixels and multiplies it with a
matrix w[c, k] = c + 10 k. Needs the packages onnx and numpy.
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent


def write(name, image, logits, axes, kind=TensorProto.FLOAT, channels=3, extra=()):
    w = np.array([[c + 10 * k for k in range(5)] for c in range(channels)], np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)]
    outputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, channels]) for n in extra]
    graph = helper.make_graph(
        nodes,
        "peer",
        [helper.make_tensor_value_info("image", kind, image)],
        outputs,
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(np.array(axes), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


write("nchw", [1, 3, 4, 6], [1, 5], [2, 3])
write("nhwc", ["n", 4, 6, 3], ["n", 5], [1, 2])
write("any-size", [1, 3, "h", "w"], [1, 5], [2, 3])
write("grey", [1, 1, 4, 6], [1, 5], [2, 3], channels=1)
write("bytes", [1, 3, 4, 6], [1, 5], [2, 3], kind=TensorProto.UINT8)
write("two-outputs", [1, 3, 4, 6], [1, 5], [2, 3], extra=["mean"])
write("batch-of-2", [2, 3, 4, 6], [2, 5], [2, 3])
