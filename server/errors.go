package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/bench"
	"edgevit/eval"
	"edgevit/jobs"
	"edgevit/oip"
	"edgevit/preprocess"
)

// Errors of this package, each a row of the table below.
var (
	errClientGone      = errors.New("the client went away")
	errWrongHost       = errors.New("wrong host")
	errCrossOrigin     = errors.New("cross-origin request refused")
	errToken           = errors.New("token required")
	errChangesDisabled = errors.New("changes are switched off")
	errNotFound        = errors.New("not found")
	errMethod          = errors.New("method not allowed")
	errQuery           = errors.New("invalid query")
	errModelRequired   = errors.New("model required")
	errUnknownModel    = errors.New("unknown model")
	errCheckpoint      = errors.New("invalid checkpoint")
	errNameTaken       = errors.New("name taken")
	errModelsFull      = errors.New("too many models")
	errBuiltIn         = errors.New("built-in model")
	errStorage         = errors.New("models folder not writable")
	errNoRuns          = errors.New("no store of runs")
	errUnknownDataSet  = errors.New("unknown data set")
	errNoReport        = errors.New("no report")
	errNotResumable    = errors.New("the evaluation cannot be resumed")
	errImageGone       = errors.New("image gone")
	errImageChanged    = errors.New("image changed")
	errNoTraces        = errors.New("no traces")
	errNoProfiles      = errors.New("no profiles")
	errContentEncoding = errors.New("unsupported content encoding")
	errBodyTooLarge    = errors.New("body too large")
	errSlowBody        = errors.New("body too slow")
	errOverloaded      = errors.New("too many uploads or exports")
	errBody            = errors.New("malformed body")
	errEmptyBody       = errors.New("empty body")
	errMultipart       = errors.New("invalid multipart body")
	errQueueFull       = errors.New("too many requests wait")
	errRate            = errors.New("too many requests from one client")
	errTooLarge        = errors.New("the model does not fit in memory")
	errMemory          = errors.New("not enough memory")
	errConnections     = errors.New("too many connections")
	errNotReady        = errors.New("not ready")
	errNotFinite       = errors.New("output not finite")
	errInternal        = errors.New("internal error")
)

// statusClientGone is nginx's status for a client that did not wait. It is
// seen in logs and metrics only.
const statusClientGone = 499

// problem is a kind of error as a client sees it.
type problem struct {
	err    error // found with errors.Is
	slug   string
	status int
	title  string
	// meaning and remedy are the text of its page.
	meaning, remedy string
}

// problems is the one table from errors to answers. The first row that fits
// counts; what no row fits is the last one.
var problems = []problem{
	{errClientGone, "client-closed-request", statusClientGone, "Client closed request",
		"The client closed the connection before the answer was ready, and the work was given up.",
		"Wait longer, or send less at once. Nobody sees this answer: it stands in the server's log and metrics."},
	{context.Canceled, "client-closed-request", statusClientGone, "Client closed request", "", ""},

	{errWrongHost, "wrong-host", http.StatusMisdirectedRequest, "Wrong host",
		"The Host of the request is no name of this server. This keeps a web page from reaching a server on your own machine under a name of its own (DNS rebinding).",
		"Use the server's IP address, localhost, or a name that the server was started with; start it with the name that you want to use."},
	{errCrossOrigin, "cross-origin", http.StatusForbidden, "Cross-origin request refused",
		"A browser sent the request on behalf of a web page of another origin. Such pages must not drive this server.",
		"Send the request from a page that this server serves, or from a program that is not a browser."},

	{errChangesDisabled, "changes-disabled", http.StatusForbidden, "Changes are switched off",
		"The request would change the models folder, or the benchmarks and evaluations, or see pictures of a data set, and this server was started without a token, so that it takes no changes from anybody.",
		"Start the server with --token-file FILE, a file that holds a token of at least 16 characters; where there is none, it is made."},
	{errToken, "token-required", http.StatusUnauthorized, "Token required",
		"The request would change the models folder, or the benchmarks and evaluations, or see pictures of a data set, and does not bear this server's token.",
		"Send the token in the file that the server was started with: -H \"Authorization: Bearer $(cat token)\"."},

	{errNotFound, "not-found", http.StatusNotFound, "Not found",
		"There is nothing under this path.",
		"See /docs for what there is."},
	{errMethod, "method-not-allowed", http.StatusMethodNotAllowed, "Method not allowed",
		"The path exists, but not with this method.",
		"Use one of the methods in the answer's Allow header."},

	{errQuery, "invalid-query", http.StatusBadRequest, "Invalid query",
		"A query parameter is unknown to the operation, repeated, empty, malformed or out of range.",
		"See /docs for the operation's parameters. top_k goes from 1 to the model's number of classes."},
	{backend.ErrTargetSyntax, "invalid-target", http.StatusBadRequest, "Malformed target",
		"The target is not of the form backend[:device][:precision].",
		"Use a target that GET /backends lists, such as purego."},
	{backend.ErrUnknownTarget, "unknown-target", http.StatusNotFound, "Unknown target",
		"This build has no such backend, device or precision.",
		"Use a target that GET /backends lists."},
	{oip.ErrMessage, "invalid-inference-request", http.StatusBadRequest, "Invalid inference request",
		"A request under /v2 is not one of the Open Inference Protocol, contradicts itself, or names inputs, outputs or parameters that the model does not have.",
		"GET /v2/models/NAME tells inputs and outputs, GET /v2/models/NAME/config the largest batch. An image file goes as a BYTES element: as binary data, or as base64 in JSON."},
	{errModelRequired, "model-required", http.StatusBadRequest, "Model required",
		"The server has no default model, so that every request must name one.",
		"Add ?model=NAME with a name that GET /models lists, or start the server with a default model."},
	{errUnknownModel, "unknown-model", http.StatusNotFound, "Unknown model",
		"No model of this name is served.",
		"Use a name that GET /models lists. The server looks at its models folder when it starts and on SIGHUP."},
	{errCheckpoint, "invalid-checkpoint", http.StatusUnprocessableEntity, "Invalid checkpoint",
		"The model's file cannot be used: it is damaged, or not an EdgeViT, or clashes with another file. The findings say everything that is wrong.",
		"Replace the file and send the server SIGHUP, or use another model. An upload with findings has left nothing behind."},
	{errNameTaken, "name-taken", http.StatusConflict, "Name taken",
		"A file of the models folder has this name already, be it a model that failed or a sidecar. Nothing is overwritten.",
		"Choose another name, or send DELETE /models/NAME first."},
	{errModelsFull, "models-full", http.StatusConflict, "Too many models",
		"The models folder holds as many checkpoints as the server serves.",
		"Send DELETE /models/NAME for one that is no longer wanted."},
	{errBuiltIn, "built-in-model", http.StatusConflict, "Built-in model",
		"The model is part of the program and has no file that could be removed.",
		"Leave it: demo goes once the models folder has a checkpoint, and random models cost nothing until they are used."},
	{errStorage, "storage-unavailable", http.StatusServiceUnavailable, "Models folder not writable",
		"The models folder cannot be changed, for the reason given: it is read-only, on a full disk, or not there and cannot be made.",
		"Start the server with --models and a folder that it may write to, or make room."},

	{bench.ErrPlan, "invalid-plan", http.StatusBadRequest, "Invalid benchmark plan",
		"The benchmark cannot be carried out as it was asked for: a number is out of range, or does not belong to the scenario.",
		"See /docs for the operation's parameters. rate and bound_ms are for the server scenario, batch is for offline."},
	{jobs.ErrBusy, "job-running", http.StatusConflict, "A long job is running",
		"One benchmark or evaluation at a time holds the machine, whether this server or another program started it: beside another, a benchmark would not count.",
		"Wait until it ends, which GET /benchmarks and GET /evaluations tell, or cancel it with DELETE on its path."},
	{jobs.ErrNotFound, "unknown-run", http.StatusNotFound, "Unknown run",
		"There is no benchmark or evaluation of this id, or the benchmark has no bundle because it did not end well.",
		"Use an id that GET /benchmarks or GET /evaluations lists; a bundle there is for benchmarks that are done."},
	{errNoReport, "no-report", http.StatusConflict, "No report",
		"The evaluation is not done, so that there is no report of it; the detail says how far it came.",
		"Wait for the end of one that is running; go on with one that has ended before by POST /evaluations/ID/resume."},
	{errNotResumable, "not-resumable", http.StatusConflict, "Evaluation not resumable",
		"The evaluation cannot go on where it ended: it is done, nothing of it is kept, or the model, the data set or the server is no longer what it began with, so that its halves would not be one evaluation.",
		"Start another with POST /evaluations, or bring back what has changed. The newest evaluations only can be resumed."},
	{jobs.ErrDone, "not-resumable", http.StatusConflict, "Evaluation not resumable", "", ""},
	{jobs.ErrExists, "run-exists", http.StatusConflict, "Run exists",
		"A run of the bundle's id is in the store already. Nothing is overwritten.",
		"Look at it under GET /benchmarks/ID; send DELETE first to import it again."},
	{bench.ErrBundle, "invalid-bundle", http.StatusUnprocessableEntity, "Invalid run bundle",
		"The body is no bundle of a run, or one that is not in order: cut short, too long, of another version, or with a field that cannot be.",
		"Send the file that api bench --out or GET /benchmarks/ID/bundle has written: curl --data-binary @FILE"},
	{errUnknownDataSet, "unknown-data-set", http.StatusNotFound, "Unknown data set",
		"The server was started with no data set of this name. Clients name data sets, never folders.",
		"Use a name that GET /datasets lists, or start the server with --data-set NAME=DIR."},
	{eval.ErrSet, "invalid-data-set", http.StatusUnprocessableEntity, "Invalid data set",
		"The data set cannot be read as one of the model's classes, for the reasons given.",
		"Use a model of its classes, or name its folders by the model's labels or indices; GET /models/NAME lists the labels."},
	{errImageGone, "image-gone", http.StatusNotFound, "Image gone",
		"The file of the image is no longer in the data set, or links lead to it from outside the data set's folder.",
		"Evaluate again what is there now."},
	{errImageChanged, "image-changed", http.StatusConflict, "Image changed",
		"The file of the image has been changed since it was evaluated, so that it is not what the report is about.",
		"Evaluate again what is there now."},
	{errNoRuns, "runs-unavailable", http.StatusServiceUnavailable, "No store of runs",
		"Benchmarks and evaluations are kept in the data folder, and this server has none that it can use, for the reason given.",
		"Start the server with --data and a folder that it may write to, and with room on its disk."},
	{jobs.ErrStorage, "runs-unavailable", http.StatusServiceUnavailable, "No store of runs", "", ""},

	{errContentEncoding, "unsupported-content-encoding", http.StatusUnsupportedMediaType, "Unsupported content encoding",
		"The body's Content-Encoding is none that the server undoes.",
		"Send the image file as it is, which is compressed already, or encode the body with gzip or deflate."},
	{errBodyTooLarge, "body-too-large", http.StatusRequestEntityTooLarge, "Body too large",
		"The body is longer than the server takes, as announced, as sent, or once its content encoding is undone.",
		"Send a smaller file: the model looks at a few hundred pixels a side at most."},
	{errSlowBody, "slow-body", http.StatusRequestTimeout, "Body too slow",
		"The body did not arrive in time.",
		"Send a smaller file, or over a faster connection."},
	{errOverloaded, "overloaded", http.StatusTooManyRequests, "Too many uploads or exports",
		"The bodies of the requests in progress fill the memory that is set aside for them, or as many models as may be are coming in or going out.",
		"Try again after the seconds in the answer's Retry-After header."},
	{errBody, "malformed-body", http.StatusBadRequest, "Malformed body",
		"The body ends early, or is not what its Content-Encoding or Transfer-Encoding says.",
		"Send the image file as it is: curl --data-binary @photo.jpg"},
	{errMultipart, "invalid-multipart", http.StatusBadRequest, "Invalid multipart body",
		"A multipart/form-data body must hold exactly one part, named image. A checkpoint is not taken in this form.",
		"Send curl -F image=@photo.jpg, or the file itself as the body: curl --data-binary @FILE"},

	{preprocess.ErrEmpty, "empty-body", http.StatusBadRequest, "Empty body",
		"The request has no body where an image, a checkpoint or a bundle is wanted.",
		"Send the file as the body: curl --data-binary @photo.jpg"},
	{errEmptyBody, "empty-body", http.StatusBadRequest, "Empty body", "", ""},
	{preprocess.ErrTooLarge, "image-too-large", http.StatusRequestEntityTooLarge, "Image too large",
		"The image has more pixels, longer sides or more scans than the server decodes, or its header claims so.",
		"Scale the image down: the model looks at a few hundred pixels a side at most."},
	{preprocess.ErrUnsupportedFormat, "unsupported-image-format", http.StatusUnsupportedMediaType, "Unsupported image format",
		"The format was recognised, but this server does not read it.",
		"Convert the image to JPEG, PNG, GIF, BMP, TIFF or WebP."},
	{preprocess.ErrUnknownFormat, "unknown-image-format", http.StatusUnsupportedMediaType, "Not a known image format",
		"The bytes are not an image in any format that the server knows. File names and headers are not looked at.",
		"Send a JPEG, PNG, GIF, BMP, TIFF or WebP file. With curl use --data-binary, as --data drops line ends."},
	{preprocess.ErrDamaged, "damaged-image", http.StatusUnprocessableEntity, "Damaged image",
		"The file begins like an image, but cannot be decoded: it is cut short or damaged.",
		"Look at the file with an image viewer; export or send it again. With curl use --data-binary, as -d drops line ends."},
	{preprocess.ErrDeadline, "decode-deadline", http.StatusGatewayTimeout, "Image takes too long to decode",
		"Decoding the image took longer than the server allows for one image.",
		"Scale the image down, or save it in a simpler form, such as a baseline JPEG."},

	{errQueueFull, "queue-full", http.StatusTooManyRequests, "Too many requests wait",
		"As many requests as the server lets wait for this model on this target are waiting already, or those that wait would keep this one from beginning in time.",
		"Try again after the seconds in the answer's Retry-After header, which is how long what waits now is expected to take, and send fewer at once."},
	{errRate, "rate-limit", http.StatusTooManyRequests, "Too many requests from one client",
		"This client's address has sent more requests within the last second than the server takes from one.",
		"Try again after the seconds in the answer's Retry-After header, and send fewer a second."},
	{errTooLarge, "model-too-large", http.StatusServiceUnavailable, "Model too large for memory",
		"The model can never be open on this server as it was started: alone, or beside the default model, it takes more memory than is set aside for open models. Waiting does not help.",
		"Use another model. The operator sets the budget with --memory-bytes; without it, it is half of GOMEMLIMIT, or of what the container or machine has."},
	{errMemory, "memory-budget", http.StatusServiceUnavailable, "Not enough memory",
		"The model is not open on this target, and the memory that is set aside for open models was held by others for as long as a request may wait for that. They make room in turn.",
		"Try again after the seconds in the answer's Retry-After header, or use a model and target that are open already, as GET /models tells. The operator sets the budget with --memory-bytes."},
	{errConnections, "too-many-connections", http.StatusServiceUnavailable, "Too many connections",
		"As many connections as the server serves are open already. The few that are left answer only whether it lives.",
		"Try again after the seconds in the answer's Retry-After header, and use one connection for many requests."},
	{errNotFinite, "not-finite", http.StatusInternalServerError, "Output not finite",
		"The model's output for this image holds a NaN or an infinity, so that there is no answer.",
		"Try a target of higher precision. If all targets say so, the checkpoint's weights are broken."},
	{errNoTraces, "no-traces", http.StatusUnprocessableEntity, "Target without traces",
		"The comparison was to be layer by layer, and a target that was asked for does not show the outputs of its nodes.",
		"Leave out layers, or that target."},
	{errNoProfiles, "no-profiles", http.StatusUnprocessableEntity, "Target without profiles",
		"A profile was asked for of a target that does not tell how long the steps of a run take.",
		"Use purego, or POST /compare?layers=true, which tells the times of nodes where the runtime does."},
	{backend.ErrCrashed, "runtime-crashed", http.StatusServiceUnavailable, "Runtime crashed",
		"The process in which the target's runtime runs died, or hung and was killed, and the runs in progress there were lost. The server starts it again by itself; other targets and models go on.",
		"Try again after the time that the answer gives, or use another target. If this image or model does it every time, report it with the server's log."},
	{backend.ErrUnavailable, "target-unavailable", http.StatusServiceUnavailable, "Target unavailable",
		"The target cannot run on this machine, for the reason given: a library or a device is missing.",
		"Do what the reason says, or use a target that GET /backends calls available."},
	{backend.ErrUnsupported, "target-unsupported", http.StatusServiceUnavailable, "Model not supported by the target",
		"The target cannot run this model.",
		"Use another target; purego runs every model."},
	{errNotReady, "not-ready", http.StatusServiceUnavailable, "Not ready",
		"The default model has not yet run on the default target, or the server is shutting down.",
		"Wait, and ask /readyz."},
	{backend.ErrClosed, "not-ready", http.StatusServiceUnavailable, "Not ready", "", ""},
	{context.DeadlineExceeded, "deadline", http.StatusGatewayTimeout, "Deadline exceeded",
		"There was no answer within the time that the server gives one request, waiting included.",
		"Try again when the server has less to do, or use a smaller model or a faster target."},

	{errInternal, "internal-error", http.StatusInternalServerError, "Internal error",
		"The server has a fault. What it was stands in the server's log under the request id.",
		"Report it with the request id and the log line."},
}

// problemOf finds the row of err.
func problemOf(err error) problem {
	for _, p := range problems {
		if errors.Is(err, p.err) {
			return p
		}
	}
	return problems[len(problems)-1]
}

// maxDetail bounds what an answer repeats of a request, in bytes.
const maxDetail = 1000

// fail answers with the problem of err, under /v2 in the form of its protocol. It
// is the only way to answer an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	// net/http ends the context also when the body's deadline passes.
	if errors.Is(context.Cause(r.Context()), errClosing) {
		err = fmt.Errorf("%w: %v", errClosing, err) // what it was, a context's error, does not count
	} else if errors.Is(r.Context().Err(), context.Canceled) && !errors.Is(err, errSlowBody) {
		err = fmt.Errorf("%w: %w", errClientGone, err)
	}
	p := problemOf(err)
	info := infoOf(r.Context())
	info.err = err
	switch {
	case p.status == http.StatusTooManyRequests || passing[p.slug]:
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter(err)))
	case p.status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case p.err == errContentEncoding:
		w.Header().Set("Accept-Encoding", "gzip, deflate")
	}
	media, answer := "application/problem+json", any(p.describe(err, info))
	if isProtocol(r) {
		media, answer = "application/json", oip.Error{Error: p.detail(err, info) + " (request " + info.id + ")"}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Server-Timing", serverTiming([]stageTime{{"total", ms(time.Since(info.start)), ""}}))
	w.WriteHeader(p.status)
	w.Write(body)
}

// passing are the problems of status 503 that pass by themselves.
var passing = map[string]bool{"memory-budget": true, "too-many-connections": true, "not-ready": true, "runtime-crashed": true}

// retryAfter is how many whole seconds a refused client is told to wait: until
// what waits now is done, where that can be told.
func retryAfter(err error) int {
	var o *overload
	if errors.As(err, &o) {
		return max(1, int(math.Ceil(o.wait.Seconds())))
	}
	return 1
}

// describe is the problem document of err, which p is the row of.
func (p problem) describe(err error, info *requestInfo) api.Problem {
	answer := api.Problem{
		Type:      "/problems/" + p.slug,
		Title:     p.title,
		Status:    p.status,
		Detail:    p.detail(err, info),
		Instance:  clip(info.path, maxDetail),
		RequestId: info.id,
	}
	var invalid *invalidModel
	if errors.As(err, &invalid) {
		answer.Findings = invalid.findings
	}
	return answer
}

// detail is what a client is told of err.
func (p problem) detail(err error, info *requestInfo) string {
	switch {
	case p.err == errInternal:
		return errInternal.Error()
	case info.form && (p.err == preprocess.ErrDamaged || p.err == preprocess.ErrUnknownFormat):
		return clip(err.Error(), maxDetail) + "; curl -d drops line ends, --data-binary keeps the file as it is"
	}
	return clip(err.Error(), maxDetail)
}

// clip shortens s to n bytes, without cutting a character.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "")
}
