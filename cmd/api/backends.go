package main

// One line per backend that this program can serve.
import (
	_ "edgevit/backend/onnx"
	_ "edgevit/backend/purego"
	_ "edgevit/backend/tflite"
)
