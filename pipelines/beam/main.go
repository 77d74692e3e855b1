// Command beam classifies millions of images with Apache Beam: every worker
// holds the model, and an existing engine spreads the files. docs/deploy.md has
// the commands for Flink and Dataflow.
//
//	beam --images 'photos/*.jpg' --output named.jsonl --errors failed.jsonl
//
// classify.go is the step that is this library.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/fileio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"
)

var (
	images  = flag.String("images", "", "files to classify, as a glob pattern: local, gs:// or what else Beam reads")
	output  = flag.String("output", "", "file of JSON lines, one for each image that was classified")
	errors  = flag.String("errors", "", "file of JSON lines, one for each image that was not, with the reason")
	weights = flag.String("model", "", "checkpoint on every worker; default: the demo model")
	topK    = flag.Int("top-k", 5, "classes of an image; at most those of the model")
)

func main() {
	flag.Parse()
	beam.Init() // a worker goes no further
	if *images == "" || *output == "" || *errors == "" {
		fmt.Fprintln(os.Stderr, "beam: --images, --output and --errors are required")
		os.Exit(2)
	}
	p, s := beam.NewPipelineWithRoot()
	named, failed := classifyFiles(s, *images, classifyFn{Checkpoint: *weights, TopK: *topK})
	textio.Write(s, *output, named)
	textio.Write(s, *errors, failed)
	if err := beamx.Run(context.Background(), p); err != nil {
		fmt.Fprintln(os.Stderr, "beam:", err)
		os.Exit(1)
	}
}

// classifyFiles reads the files of a pattern. Both results are JSON lines: those
// of images that were classified, and of those that were not.
func classifyFiles(s beam.Scope, pattern string, fn classifyFn) (named, failed beam.PCollection) {
	s = s.Scope("edgevit.Classify")
	files := fileio.MatchFiles(s, pattern, fileio.MatchEmptyDisallow())
	// A reshuffle, so that matching and classifying are not one step on one worker.
	readable := fileio.ReadMatches(s, beam.Reshuffle(s, files), fileio.ReadUncompressed())
	return beam.ParDo2(s, &fn, readable)
}
