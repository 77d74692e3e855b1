package tflite_test

import (
	"testing"

	"edgevit/backend/backendtest"
	"edgevit/backend/tflite"
)

func TestConformance(t *testing.T) { backendtest.Run(t, tflite.Backend{}) }
