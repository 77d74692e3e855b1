package server

import (
	"bytes"
	"context"
	"time"

	"edgevit/api"
	"edgevit/npy"
)

// Preprocess makes of one image the model's input tensor, for whoever runs the
// model elsewhere. It waits in the queue of the default target, which need not
// be open.
func (h handlers) Preprocess(ctx context.Context, req api.PreprocessRequestObject) (api.PreprocessResponseObject, error) {
	info := infoOf(ctx)
	ctx, cancel, err := h.withDeadline(ctx, req.Params.DeadlineMs)
	if err != nil {
		return nil, err
	}
	defer cancel()

	session, err := h.store.acquire(ctx, value(req.Params.Model), h.store.target)
	if err != nil {
		return nil, err
	}
	defer h.store.release(session)
	info.model = session.entry.name
	if err := h.admission.check(ctx, &session.lane); err != nil {
		return nil, err
	}
	data, err := readImage(req.MultipartBody, info.body)
	if err != nil {
		return nil, err
	}
	input, put := session.entry.input()
	defer put()
	prepared, err := h.prepareInput(ctx, session, data, input)
	if err != nil {
		return nil, err
	}
	shape := session.entry.model.Graph.Input()
	var file bytes.Buffer
	if err := npy.WriteFloats(&file, []int{shape.H, shape.W, shape.C}, input); err != nil {
		return nil, err
	}
	return api.Preprocess200ApplicationoctetStreamResponse{
		Body: &file, ContentLength: int64(file.Len()),
		Headers: api.Preprocess200ResponseHeaders{
			ContentDisposition: new(`attachment; filename="input.npy"`),
			ServerTiming: serverTiming([]stageTime{
				{"queue", prepared.queueMs, ""}, {"decode", prepared.decodeMs, ""},
				{"preprocess", prepared.preprocessMs, ""}, {"total", ms(time.Since(info.start)), ""},
			}),
		},
	}, nil
}
