/* A library of TensorFlow Lite's C functions that find the real ones at run
 * time. A program linked to it starts where the real library is missing, and can
 * say so. */
#ifndef EDGEVIT_FORWARD_H
#define EDGEVIT_FORWARD_H

#include <tensorflow/lite/c/c_api.h>
#include <tensorflow/lite/c/c_api_experimental.h>

/* Delegate options grow from version to version: room for any, filled by the
 * library's own defaults. XNNPACK's begin with the number of threads. */
typedef struct { int32_t num_threads; char rest[252]; } ForwardOptions;

ForwardOptions TfLiteXNNPackDelegateOptionsDefault(void);
TfLiteDelegate *TfLiteXNNPackDelegateCreate(const ForwardOptions *);
void TfLiteXNNPackDelegateDelete(TfLiteDelegate *);

/* Of the GPU delegate's own library. */
ForwardOptions TfLiteGpuDelegateOptionsV2Default(void);
TfLiteDelegate *TfLiteGpuDelegateV2Create(const ForwardOptions *);
void TfLiteGpuDelegateV2Delete(TfLiteDelegate *);

typedef enum { FORWARD_TFLITE, FORWARD_GPU } ForwardLibrary;

/* Loads the library at path and points its functions to it; the library stays.
 * Until it has returned 0, no function of that library may be called. Otherwise
 * reason says why, cut to its size: the loader's message (1), or the functions
 * that the library does not have (2). Calls must not overlap. */
int forward_load(ForwardLibrary, const char *path, char *reason, size_t size);

/* The path that the library's functions were truly loaded from, "" if unknown. */
const char *forward_path(ForwardLibrary);

#endif
