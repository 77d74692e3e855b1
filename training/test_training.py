"""python -m unittest: unpacking, preprocessing, resuming, exporting."""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import unittest
import unittest.mock
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import data
from edgevit import PRESETS, EdgeViT

HERE = Path(__file__).parent


def png(colour, size=(32, 32)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def data_set(root, per_class=8, size=(32, 32)):
    rng = np.random.default_rng(0)
    for split in data.SPLITS:
        for name, base in (("dark", 0), ("light", 150)):
            (root / split / name).mkdir(parents=True)
            for i in range(per_class):
                pixels = rng.integers(base, base + 100, (size[1], size[0], 3), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))


class Unpack(Folder):
    NAMES = ("set/train/cat/0.png", "train/dog/1.png", "../train/cat/up.png", "train/../../test/cat/up.png", "/train/cat/abs.png",
             "train/cat/deep/2.png", "train/cat/.hidden.png", "train/cat/run.sh", "other/cat/3.png")  # fmt: skip
    WANT = ["train/cat/0.png", "train/dog/1.png"]

    def found(self):
        everything = [p for p in self.folder.rglob("*") if p.is_file() and p.name not in ("a.tar", "a.zip")]
        return sorted(str(p.relative_to(self.folder / "out")) for p in everything)

    def test_tar(self):
        with tarfile.open(self.folder / "a.tar", "w") as t:
            for name in self.NAMES:
                m = tarfile.TarInfo(name)
                m.size = 3
                t.addfile(m, io.BytesIO(b"abc"))
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
                m = tarfile.TarInfo("train/cat/link.png")
                m.type, m.linkname = kind, "/etc/hostname"
                t.addfile(m)
        data.unpack(self.folder / "a.tar", self.folder / "out")
        self.assertEqual(self.found(), self.WANT)

    def test_zip(self):
        with zipfile.ZipFile(self.folder / "a.zip", "w") as z:
            for name in self.NAMES:
                z.writestr(name, b"abc")
        data.unpack(self.folder / "a.zip", self.folder / "out")
        self.assertEqual(self.found(), self.WANT)

    def test_limit(self):
        with zipfile.ZipFile(self.folder / "a.zip", "w") as z:
            z.writestr("train/cat/0.png", b"abc")
        with unittest.mock.patch.object(data, "MAX_BYTES", 2), self.assertRaisesRegex(data.DataError, "more than"):
            data.unpack(self.folder / "a.zip", self.folder / "out")

    def test_nothing(self):
        (self.folder / "a.tar").write_bytes(b"not an archive")
        with self.assertRaisesRegex(data.DataError, "neither"):
            data.folder(self.folder / "a.tar", self.folder / "out")


class Loading(Folder):
    def test_native_side(self):
        data_set(self.folder)
        self.assertEqual(data.load_train(self.folder, 64).images.shape, (16, 32, 32, 3))
        self.assertEqual(data.load_test(self.folder, 64, 0.9).images.shape, (16, 64, 64, 3))

    def test_mixed_sides(self):
        data_set(self.folder)
        (self.folder / "train/light/7.png").write_bytes(png("white", (100, 51)))
        train = data.load_train(self.folder, 64)
        self.assertEqual(train.images.shape, (16, 64, 64, 3))
        self.assertTrue((train.images[-1] == 255).all())

    def test_different_classes(self):
        data_set(self.folder)
        (self.folder / "train/extra").mkdir()
        with self.assertRaisesRegex(data.DataError, "extra"):
            data.classes(self.folder)

    def test_damaged(self):
        data_set(self.folder)
        (self.folder / "test/dark/0.png").write_bytes(png("red")[:60])
        with self.assertRaisesRegex(data.DataError, "0.png"):
            data.load_test(self.folder, 64, 1.0)


class Definition(unittest.TestCase):
    def test_parameters(self):
        for name, want in (("xxs", 4_067_704), ("xs", 6_770_056), ("s", 13_108_168), ("demo", 1_694_506)):
            self.assertEqual(sum(p.numel() for p in EdgeViT(PRESETS[name]).parameters()), want, name)

    def test_sizes(self):
        for size in (100, 48):
            with self.assertRaisesRegex(ValueError, "stage"):
                EdgeViT(PRESETS["demo"].__class__(size=size))


class Training(Folder):
    FLAGS = ("--epochs", "3", "--batch", "4", "--threads", "1", "--device", "cpu")

    def run_script(self, script, *args, code=0):
        p = subprocess.run([sys.executable, HERE / script, *map(str, args)], capture_output=True, text=True)
        self.assertEqual(p.returncode, code, p.stderr)
        return p.stderr

    def test_resume(self):
        """A stop changes nothing: not in an epoch, not at its end."""
        root = self.folder / "data"
        data_set(root)
        outs = [self.folder / name for name in ("whole", "parts")]
        self.run_script("train.py", root, outs[0], *self.FLAGS)
        for steps in (3, 8):
            self.run_script("train.py", root, outs[1], *self.FLAGS, "--max-steps", steps, code=3)
        self.run_script("export.py", root, outs[1], code=1)
        self.run_script("train.py", root, outs[1], *self.FLAGS, "--name", "Dark & light")
        states = [torch.load(out / "checkpoint.pt", weights_only=True) for out in outs]
        for key in ("model", "ema"):
            for name, t in states[0][key].items():
                self.assertTrue(torch.equal(t, states[1][key][name]), f"{key} {name}")
        metrics = [[json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()] for out in outs]
        for key in ("epoch", "step", "train_loss", "test_loss"):
            self.assertEqual([m[key] for m in metrics[0]], [m[key] for m in metrics[1]])
        message = self.run_script("train.py", root, outs[1], *self.FLAGS, "--lr", "1", code=1)
        self.assertIn("other settings (lr)", message)

        self.run_script("export.py", root, outs[1])
        folder = outs[1] / "model"
        self.assertEqual(sorted(p.name for p in folder.iterdir()), ["MODEL_CARD.md", "dark---light.json", "dark---light.pth"])
        side = json.loads((folder / "dark---light.json").read_text())
        self.assertEqual((side["name"], side["labels"], side["preprocess"]["size"]), ("Dark & light", ["dark", "light"], 64))
        self.assertNotIn("$", (folder / "MODEL_CARD.md").read_text())

        # Another data set from these weights: the head is new.
        self.run_script("train.py", root, self.folder / "tuned", *self.FLAGS, "--init", folder / "dark---light.pth", "--max-steps", 1, code=3)


if __name__ == "__main__":
    unittest.main()
