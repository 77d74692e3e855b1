/* The part of TensorFlow Lite's experimental C interface that go-tflite and
 * this project use. The layouts are those of tensorflow/lite/core/c/common.h,
 * tested with 2.21; of TfLiteContext only what stands before the last field that
 * is used is declared. */
#ifndef EDGEVIT_TENSORFLOW_LITE_C_API_EXPERIMENTAL_H
#define EDGEVIT_TENSORFLOW_LITE_C_API_EXPERIMENTAL_H

#include "c_api.h"

typedef int TfLiteBuiltinOperator;
enum { kTfLiteBuiltinDelegate = 51 };
enum { kTfLiteMmapRo = 1, kTfLiteDynamic = 4 };
enum { kTfLiteNoQuantization = 0, kTfLiteAffineQuantization = 1 };

typedef struct { int size; int data[]; } TfLiteIntArray;
typedef struct { int size; float data[]; } TfLiteFloatArray;
typedef struct { TfLiteFloatArray *scale; TfLiteIntArray *zero_point; int32_t quantized_dimension; } TfLiteAffineQuantization;
typedef struct TfLiteNode TfLiteNode;
typedef struct TfLiteContext TfLiteContext;

struct TfLiteTensor {
  TfLiteType type;
  union { void *data; char *raw; } data;
  TfLiteIntArray *dims;
  TfLiteQuantizationParams params;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  TfLiteDelegate *delegate;
  int buffer_handle;
  bool data_is_stale;
  bool is_variable;
  struct { int type; void *params; } quantization;
};

typedef struct TfLiteRegistration {
  void *(*init)(TfLiteContext *, const char *buffer, size_t length);
  void (*free)(TfLiteContext *, void *buffer);
  TfLiteStatus (*prepare)(TfLiteContext *, TfLiteNode *);
  TfLiteStatus (*invoke)(TfLiteContext *, TfLiteNode *);
  const char *(*profiling_string)(const TfLiteContext *, const TfLiteNode *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *registration_external;
  void *async_kernel;
  uint64_t inplace_operator;
} TfLiteRegistration;

struct TfLiteContext {
  size_t tensors_size;
  TfLiteStatus (*GetExecutionPlan)(TfLiteContext *, TfLiteIntArray **plan);
  TfLiteTensor *tensors;
  void *impl_;
  TfLiteStatus (*ResizeTensor)(TfLiteContext *, TfLiteTensor *, TfLiteIntArray *);
  void (*ReportError)(TfLiteContext *, const char *format, ...);
  TfLiteStatus (*AddTensors)(TfLiteContext *, int count, int *first);
  TfLiteStatus (*GetNodeAndRegistration)(TfLiteContext *, int index, TfLiteNode **, TfLiteRegistration **);
};

struct TfLiteDelegate {
  void *data_;
  TfLiteStatus (*Prepare)(TfLiteContext *, TfLiteDelegate *);
  TfLiteStatus (*CopyFromBufferHandle)(TfLiteContext *, TfLiteDelegate *, int, TfLiteTensor *);
  TfLiteStatus (*CopyToBufferHandle)(TfLiteContext *, TfLiteDelegate *, int, TfLiteTensor *);
  void (*FreeBufferHandle)(TfLiteContext *, TfLiteDelegate *, int *);
  int64_t flags;
  void *opaque_delegate_builder;
};

TfLiteStatus TfLiteInterpreterResetVariableTensors(TfLiteInterpreter *);
void TfLiteInterpreterOptionsSetUseNNAPI(TfLiteInterpreterOptions *, bool);
void TfLiteInterpreterOptionsAddBuiltinOp(TfLiteInterpreterOptions *, TfLiteBuiltinOperator, const TfLiteRegistration *, int32_t min, int32_t max);
void TfLiteInterpreterOptionsAddCustomOp(TfLiteInterpreterOptions *, const char *name, const TfLiteRegistration *, int32_t min, int32_t max);

#endif
