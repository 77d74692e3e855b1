"""Other projects' clients of the Open Inference Protocol against the program.

    python clients.py bin/api cat.jpg

Triton's and KServe's clients are used as their documentation does, unchanged, on
the demo model. The expected logits are those of POST /classify.
"""

import asyncio
import base64
import json
import logging
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import kserve
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

PROGRAM, PHOTO = sys.argv[1], pathlib.Path(sys.argv[2]).read_bytes()
SIDE, CLASSES = 64, 10


class Service:
    """The program on a free port, with a token."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        token = pathlib.Path(self.folder.name, "token")
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--data", self.folder.name, "--token-file", token, "--log-level", "fatal"],
            stdout=subprocess.PIPE, text=True,
        )
        greeting = self.process.stdout.readline()
        self.host = re.search(r"http://(\S+)", greeting).group(1)
        self.token = {"Authorization": "Bearer " + token.read_text().strip()}
        self.url = "http://" + self.host
        deadline = time.monotonic() + 30
        while not self.ready():
            if time.monotonic() > deadline:
                raise TimeoutError("the service is not ready after 30 s")
            time.sleep(0.05)

    def ready(self):
        try:
            return urllib.request.urlopen(self.url + "/readyz").status == 200
        except urllib.error.HTTPError:
            return False

    def classify(self, photo):
        """The logits of POST /classify by index."""
        answer = json.load(urllib.request.urlopen(f"{self.url}/classify?top_k={CLASSES}", data=photo))
        return np.array([p["logit"] for p in sorted(answer["predictions"], key=lambda p: p["index"])], np.float32)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()


def setUpModule():
    global service, expected, pixels
    service = Service()
    expected = service.classify(PHOTO)
    # NumPy's form of the model's input, as a client that preprocesses has it.
    with urllib.request.urlopen(service.url + "/preprocess", data=PHOTO) as answer:
        path = pathlib.Path(service.folder.name, "input.npy")
        path.write_bytes(answer.read())
    pixels = np.load(path).reshape(1, SIDE, SIDE, 3)


def tearDownModule():
    service.stop()


def photo_input(client, photos, shape=None):
    images = np.array(photos, dtype=np.object_).reshape(shape or [len(photos)])
    tensor = client.InferInput("image", list(images.shape), "BYTES")
    tensor.set_data_from_numpy(images, binary_data=True)
    return tensor


class Triton(unittest.TestCase):
    def setUp(self):
        self.client = triton.InferenceServerClient(service.host, network_timeout=30)
        self.addCleanup(self.client.close)

    def tensor(self, binary, images=None):
        images = pixels if images is None else images
        tensor = triton.InferInput("image", list(images.shape), "FP32")
        tensor.set_data_from_numpy(images, binary_data=binary)
        return tensor

    def test_health_and_metadata(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("demo"))
        self.assertTrue(self.client.is_model_ready("demo@purego:int8", "1"))
        self.assertFalse(self.client.is_model_ready("nemo"))
        self.assertIn("binary_tensor_data", self.client.get_server_metadata()["extensions"])
        for name in "demo", "demo@purego:int8":
            m = self.client.get_model_metadata(name, model_version="1")
            self.assertEqual(m["name"], name)
            self.assertEqual(m["inputs"], [{"name": "image", "datatype": "FP32", "shape": [-1, SIDE, SIDE, 3]}])
            self.assertEqual([o["name"] for o in m["outputs"]], ["logits", "probabilities"])
            self.assertEqual(len(m["properties"]["model_hash"]), 64)

    def test_config(self):
        config = self.client.get_model_config("demo")
        self.assertEqual(config["input"][0]["dims"], [SIDE, SIDE, 3])
        most = config["max_batch_size"]
        batch = self.tensor(True, np.repeat(pixels, most, axis=0))
        self.assertEqual(self.client.infer("demo", [batch]).as_numpy("logits").shape, (most, CLASSES))
        with self.assertRaisesRegex(InferenceServerException, f"N from 1 to {most}"):
            self.client.infer("demo", [self.tensor(True, np.repeat(pixels, most + 1, axis=0))])

    def test_infer(self):
        for binary_in in True, False:
            for binary_out in True, False:
                outputs = [triton.InferRequestedOutput(n, binary_data=binary_out) for n in ("probabilities", "logits")]
                result = self.client.infer("demo", [self.tensor(binary_in)], outputs=outputs, request_id="id 7", model_version="1")
                np.testing.assert_array_equal(result.as_numpy("logits"), [expected])
                self.assertAlmostEqual(float(result.as_numpy("probabilities").sum()), 1, places=5)
                answer = result.get_response()
                self.assertEqual(answer["id"], "id 7")
                self.assertEqual(answer["parameters"]["target"], "purego")
                self.assertGreater(answer["parameters"]["total_ms"], 0)
        # By default the client asks for all outputs in binary form.
        np.testing.assert_array_equal(self.client.infer("demo", [self.tensor(True)]).as_numpy("logits"), [expected])

    def test_photographs(self):
        for shape in [2], [2, 1]:
            result = self.client.infer("demo", [photo_input(triton, [PHOTO, PHOTO], shape)])
            np.testing.assert_allclose(result.as_numpy("logits"), [expected, expected], rtol=1e-5)

    def test_target(self):
        by_name = self.client.infer("demo@purego:int8", [self.tensor(True)])
        by_parameter = self.client.infer("demo", [self.tensor(True)], parameters={"target": "purego:int8"})
        for result in by_name, by_parameter:
            self.assertEqual(result.get_response()["parameters"]["target"], "purego:int8")
            self.assertEqual(result.as_numpy("logits").argmax(), expected.argmax())
            self.assertFalse(np.array_equal(result.as_numpy("logits")[0], expected))

    def test_classification(self):
        for binary in True, False:
            output = triton.InferRequestedOutput("logits", binary_data=binary, class_count=3)
            classes = self.client.infer("demo", [photo_input(triton, [PHOTO])], outputs=[output]).as_numpy("logits")
            self.assertEqual(classes.shape, (1, 3))
            value, index, label = (classes[0][0].decode() if binary else str(classes[0][0])).split(":")
            self.assertEqual((np.float32(value), int(index), label), (expected.max(), expected.argmax(), "cat"))

    def test_compression(self):
        for algorithm in "gzip", "deflate":
            result = self.client.infer(
                "demo", [self.tensor(True)],
                request_compression_algorithm=algorithm, response_compression_algorithm=algorithm,
            )
            np.testing.assert_array_equal(result.as_numpy("logits"), [expected])

    def test_concurrent(self):
        requests = [self.client.async_infer("demo", [self.tensor(True)]) for _ in range(8)]
        for request in requests:
            np.testing.assert_array_equal(request.get_result().as_numpy("logits"), [expected])

    def test_errors(self):
        for call, status, text in [
            (lambda: self.client.infer("nemo", [self.tensor(True)]), "404", "unknown model"),
            (lambda: self.client.infer("demo", [self.tensor(True)], model_version="2"), "404", "version"),
            (lambda: self.client.infer("demo", [photo_input(triton, [b"text"])]), "415", 'image 0 of input "image"'),
            (lambda: self.client.infer("demo", [self.tensor(True, pixels[:, :32])]), "400", "its shape is"),
            (lambda: self.client.infer("demo", [self.tensor(True)], outputs=[triton.InferRequestedOutput("scores")]), "400", "no such output"),
            (lambda: self.client.unload_model("demo"), "401", "token"),
        ]:
            with self.assertRaises(InferenceServerException) as raised:
                call()
            self.assertIn(status, str(raised.exception.status()))
            self.assertIn(text, raised.exception.message())

    def test_statistics(self):
        def stats():
            return self.client.get_inference_statistics("demo", "1")["model_stats"][0]

        before = stats()
        self.client.infer("demo", [photo_input(triton, [PHOTO] * 3)])
        after = stats()
        self.assertEqual(after["inference_count"] - before["inference_count"], 3)
        self.assertEqual(after["execution_count"] - before["execution_count"], 1)
        self.assertGreater(after["inference_stats"]["compute_infer"]["ns"], before["inference_stats"]["compute_infer"]["ns"])
        self.assertIn(3, [b["batch_size"] for b in after["batch_stats"]])
        self.assertIn("demo@purego", [m["name"] for m in self.client.get_inference_statistics()["model_stats"]])

    def test_repository(self):
        def states():
            return {m["name"]: m["state"] for m in self.client.get_model_repository_index()}

        self.assertEqual(states()["demo@purego:int8"], "READY")
        self.client.unload_model("demo", headers=service.token)
        self.assertEqual(states()["demo"], "UNAVAILABLE")
        self.assertFalse(self.client.is_model_ready("demo"))
        self.client.load_model("demo", headers=service.token)
        self.assertTrue(self.client.is_model_ready("demo"))
        np.testing.assert_array_equal(self.client.infer("demo", [self.tensor(True)]).as_numpy("logits"), [expected])


class KServe(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", timeout=30))
        self.addAsyncCleanup(self.client.close)

    async def infer(self, tensor, **options):
        request = kserve.InferRequest(model_name="demo", infer_inputs=[tensor], **options)
        return await self.client.infer(service.url, request, model_name="demo")

    def logits(self, response):
        return {o.name: o.as_numpy() for o in response.outputs}["logits"]

    async def test_health(self):
        self.assertTrue(await self.client.is_server_live(service.url))
        self.assertTrue(await self.client.is_server_ready(service.url))
        self.assertTrue(await self.client.is_model_ready(service.url, "demo"))
        self.assertFalse(await self.client.is_model_ready(service.url, "nemo"))

    async def test_infer(self):
        for binary_in in True, False:
            tensor = kserve.InferInput("image", list(pixels.shape), "FP32")
            tensor.set_data_from_numpy(pixels, binary_data=binary_in)
            for binary_out in True, False:
                response = await self.infer(tensor, request_id="7", parameters={"binary_data_output": binary_out})
                np.testing.assert_array_equal(self.logits(response).reshape(-1), expected)
                self.assertEqual((response.id, response.model_name), ("7", "demo"))

    async def test_photographs(self):
        binary = photo_input(kserve, [PHOTO])
        text = kserve.InferInput("image", [1], "BYTES", data=[base64.b64encode(PHOTO).decode()])
        for tensor in binary, text:
            np.testing.assert_allclose(self.logits(await self.infer(tensor)).reshape(-1), expected, rtol=1e-5)

    async def test_plain_request(self):
        request = {"inputs": [{"name": "image", "shape": list(pixels.shape), "datatype": "FP32", "data": pixels.tolist()}]}
        response = await self.client.infer(service.url, request, model_name="demo")
        np.testing.assert_array_equal(self.logits(response).reshape(-1), expected)

    async def test_errors(self):
        with self.assertRaisesRegex(Exception, "it has 0 inputs.*400"):
            await self.client.infer(service.url, {"inputs": []}, model_name="demo")


if __name__ == "__main__":
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # unittest makes it tell of slow steps
    unittest.main(argv=sys.argv[:1], verbosity=2)
