/* The part of TensorFlow Lite's C interface that go-tflite and this project
 * use: the stable functions, with the types that their callers look into.
 * Declared anew, since no package carries the original headers. The library
 * behind it is found at run time: see forward.h. */
#ifndef EDGEVIT_TENSORFLOW_LITE_C_API_H
#define EDGEVIT_TENSORFLOW_LITE_C_API_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;
typedef int TfLiteType;
typedef struct { float scale; int32_t zero_point; } TfLiteQuantizationParams;

typedef struct TfLiteModel TfLiteModel;
typedef struct TfLiteInterpreter TfLiteInterpreter;
typedef struct TfLiteInterpreterOptions TfLiteInterpreterOptions;
typedef struct TfLiteTensor TfLiteTensor;
typedef struct TfLiteDelegate TfLiteDelegate;

const char *TfLiteVersion(void);
TfLiteModel *TfLiteModelCreate(const void *data, size_t size);
TfLiteModel *TfLiteModelCreateFromFile(const char *path);
void TfLiteModelDelete(TfLiteModel *);
TfLiteInterpreterOptions *TfLiteInterpreterOptionsCreate(void);
void TfLiteInterpreterOptionsDelete(TfLiteInterpreterOptions *);
void TfLiteInterpreterOptionsSetNumThreads(TfLiteInterpreterOptions *, int32_t threads);
void TfLiteInterpreterOptionsAddDelegate(TfLiteInterpreterOptions *, TfLiteDelegate *);
void TfLiteInterpreterOptionsSetErrorReporter(TfLiteInterpreterOptions *, void (*report)(void *user, const char *format, va_list), void *user);
TfLiteInterpreter *TfLiteInterpreterCreate(const TfLiteModel *, const TfLiteInterpreterOptions *);
void TfLiteInterpreterDelete(TfLiteInterpreter *);
int32_t TfLiteInterpreterGetInputTensorCount(const TfLiteInterpreter *);
TfLiteTensor *TfLiteInterpreterGetInputTensor(const TfLiteInterpreter *, int32_t index);
int32_t TfLiteInterpreterGetOutputTensorCount(const TfLiteInterpreter *);
const TfLiteTensor *TfLiteInterpreterGetOutputTensor(const TfLiteInterpreter *, int32_t index);
TfLiteStatus TfLiteInterpreterResizeInputTensor(TfLiteInterpreter *, int32_t index, const int *dims, int32_t count);
TfLiteStatus TfLiteInterpreterAllocateTensors(TfLiteInterpreter *);
TfLiteStatus TfLiteInterpreterInvoke(TfLiteInterpreter *);
TfLiteType TfLiteTensorType(const TfLiteTensor *);
int32_t TfLiteTensorNumDims(const TfLiteTensor *);
int32_t TfLiteTensorDim(const TfLiteTensor *, int32_t index);
size_t TfLiteTensorByteSize(const TfLiteTensor *);
void *TfLiteTensorData(const TfLiteTensor *);
const char *TfLiteTensorName(const TfLiteTensor *);
TfLiteQuantizationParams TfLiteTensorQuantizationParams(const TfLiteTensor *);
TfLiteStatus TfLiteTensorCopyFromBuffer(TfLiteTensor *, const void *data, size_t size);
TfLiteStatus TfLiteTensorCopyToBuffer(const TfLiteTensor *, void *data, size_t size);

#endif
