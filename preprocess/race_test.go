//go:build race

package preprocess

func init() { raceDetector = true }
