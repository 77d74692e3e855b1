//go:build cgo && tflite && (linux || darwin)

package tflite

/*
#include <forward.h>
#include <stdlib.h>

// A delegate around another one, or none, that counts the nodes of the graph
// before and after it was applied: the C interface has no other way to see what
// a delegate took.
typedef struct {
  TfLiteDelegate delegate;
  TfLiteDelegate *inner;
  int nodes;   // of the graph
  int left;    // nodes that the inner delegate did not take
  int kernels; // nodes that the others became
} Counter;

static TfLiteStatus count(TfLiteContext *context, TfLiteDelegate *delegate) {
  Counter *c = delegate->data_;
  TfLiteIntArray *plan;
  TfLiteStatus status = context->GetExecutionPlan(context, &plan);
  if (status != kTfLiteOk) return status;
  c->nodes = plan->size;
  if (c->inner && (status = c->inner->Prepare(context, c->inner)) != kTfLiteOk) return status;
  if ((status = context->GetExecutionPlan(context, &plan)) != kTfLiteOk) return status;
  c->left = c->kernels = 0;
  for (int i = 0; i < plan->size; i++) {
    TfLiteNode *node;
    TfLiteRegistration *registration;
    if ((status = context->GetNodeAndRegistration(context, plan->data[i], &node, &registration)) != kTfLiteOk) return status;
    if (registration->builtin_code == kTfLiteBuiltinDelegate) c->kernels++;
    else c->left++;
  }
  return kTfLiteOk;
}

static Counter *counter(TfLiteDelegate *inner) {
  Counter *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->inner = inner;
  c->delegate.data_ = c;
  c->delegate.Prepare = count;
  if (inner) c->delegate.flags = inner->flags;
  return c;
}

static TfLiteDelegate *xnnpack(int threads) {
  ForwardOptions o = TfLiteXNNPackDelegateOptionsDefault();
  o.num_threads = threads;
  return TfLiteXNNPackDelegateCreate(&o);
}

static TfLiteDelegate *gpu(void) {
  ForwardOptions o = TfLiteGpuDelegateOptionsV2Default();
  return TfLiteGpuDelegateV2Create(&o);
}
*/
import "C"

import (
	"fmt"
	"unsafe"

	"edgevit/backend"
)

// delegate is a device's delegate, none for the plain kernels, with the counts
// of what it took. It implements go-tflite's delegates.Delegater.
type delegate struct {
	device  string
	counter *C.Counter
}

func newDelegate(device string, threads int) (*delegate, error) {
	var inner *C.TfLiteDelegate
	switch device {
	case deviceXNNPACK:
		inner = C.xnnpack(C.int(threads))
	case deviceGPU:
		inner = C.gpu()
	}
	if inner == nil && device != devicePlain {
		return nil, fmt.Errorf("%w: the %s delegate could not be created", backend.ErrUnavailable, device)
	}
	d := &delegate{device, C.counter(inner)}
	if d.counter == nil {
		d.Delete()
		return nil, fmt.Errorf("the %s delegate: out of memory", device)
	}
	return d, nil
}

// Ptr is the TfLiteDelegate.
func (d *delegate) Ptr() unsafe.Pointer { return unsafe.Pointer(&d.counter.delegate) }

// Delete frees the delegate, after the interpreter that used it.
func (d *delegate) Delete() {
	if d.counter == nil {
		return
	}
	switch d.device {
	case deviceXNNPACK:
		C.TfLiteXNNPackDelegateDelete(d.counter.inner)
	case deviceGPU:
		C.TfLiteGpuDelegateV2Delete(d.counter.inner)
	}
	C.free(unsafe.Pointer(d.counter))
}

// placement says how many nodes a graph has, how many of them were left to the
// plain kernels, and how many nodes the rest became.
type placement struct{ nodes, left, kernels int }

func (d *delegate) placement() placement {
	return placement{int(d.counter.nodes), int(d.counter.left), int(d.counter.kernels)}
}
