"""Writes untrained classifiers of timm as .onnx files, for api bench --peer.

    python export.py OUT [MODEL ...]

The input is one image [1 3 S S] in float32, S being the model's own size, the
output its logits [1 1000]. Weights are random, from a fixed seed, and inside the
file. The graph is as torch.onnx.export optimises it.
"""

import pathlib
import sys

import onnx
import timm
import torch

# The models that the EdgeViT paper compares itself with, by timm's names.
DEFAULT = [
    "mobilenetv2_100",
    "mobilenetv3_large_100",
    "mobilevit_xxs",  # the MobileViTs at 256 pixels, the others at 224
    "mobilevit_xs",
    "mobilevit_s",
    "pvt_v2_b0",
    "deit_tiny_patch16_224",
    "efficientnet_b0",
]


def export(name: str, out: pathlib.Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, exportable=True).eval()
    _, height, width = model.default_cfg["input_size"]
    file = out / f"{name}.onnx"
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, height, width),),
        file,
        input_names=["image"],
        output_names=["logits"],
        opset_version=18,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    onnx.checker.check_model(onnx.load(file))
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{file}: {width} x {height}, {parameters / 1e6:.2f} M parameters, {file.stat().st_size} bytes")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or DEFAULT:
        export(name, out)


if __name__ == "__main__":
    main()
