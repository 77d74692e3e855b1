"""python -m unittest test_data: unpacking and preprocessing. Needs no PyTorch."""

import io
import pickle
import tarfile
import tempfile
import unittest
import unittest.mock
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

import data


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


class Cifar(Folder):
    def archive(self, **batches):
        path = self.folder / "cifar-10-python.tar.gz"
        with tarfile.open(path, "w:gz") as t:
            for name, value in batches.items():
                content = value if isinstance(value, bytes) else pickle.dumps(value, protocol=2)
                m = tarfile.TarInfo("cifar-10-batches-py/" + name.replace("meta", "batches.meta"))
                m.size = len(content)
                t.addfile(m, io.BytesIO(content))
        return path

    META = {"label_names": ["airplane", "bird"]}

    def batch(self, labels):
        return {b"data": np.random.default_rng(1).integers(0, 256, (len(labels), 3072), np.uint8), b"labels": labels}

    def test_pictures(self):
        train, test = self.batch([1, 0, 1]), self.batch([0, 1])
        root = data.folder(self.archive(data_batch_1=train, meta=self.META, test_batch=test), self.folder / "out")
        self.assertEqual(data.classes(root), ["airplane", "bird"])
        names = sorted(str(p.relative_to(root)) for p in root.rglob("*.png"))
        self.assertEqual(names, ["test/airplane/test_batch_00000.png", "test/bird/test_batch_00001.png", "train/airplane/data_batch_1_00001.png",
                                 "train/bird/data_batch_1_00000.png", "train/bird/data_batch_1_00002.png"])  # fmt: skip
        picture = np.asarray(Image.open(root / "train/airplane/data_batch_1_00001.png"))
        row = train[b"data"][1]
        self.assertTrue((picture[3, 5] == [row[3 * 32 + 5], row[1024 + 3 * 32 + 5], row[2048 + 3 * 32 + 5]]).all())

    def test_refused(self):
        good = self.batch([0, 1])
        for want, batch in (("is of class 2", self.batch([2])), ("pictures of 32 x 32", {b"data": [1], b"labels": [0]}),
                            ("which is no data", b"cos\nsystem\n(S'true'\ntR."), ("data_batch_1", b"junk")):  # fmt: skip
            with self.assertRaisesRegex(data.DataError, want):
                data.folder(self.archive(meta=self.META, data_batch_1=batch, test_batch=good), self.folder / "out")
        with self.assertRaisesRegex(data.DataError, "lacks"):
            data.folder(self.archive(meta=self.META, test_batch=good), self.folder / "out")


if __name__ == "__main__":
    unittest.main()
