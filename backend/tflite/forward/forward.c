#define _GNU_SOURCE
#include "forward.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* Every function: X(name) must be there, O(name) may be missing, and then does
 * nothing and returns 0. */
#define TFLITE(X, O)                              \
  X(TfLiteVersion)                                \
  X(TfLiteModelCreate)                            \
  X(TfLiteModelCreateFromFile)                    \
  X(TfLiteModelDelete)                            \
  X(TfLiteInterpreterOptionsCreate)               \
  X(TfLiteInterpreterOptionsDelete)               \
  X(TfLiteInterpreterOptionsSetNumThreads)        \
  X(TfLiteInterpreterOptionsAddDelegate)          \
  X(TfLiteInterpreterOptionsSetErrorReporter)     \
  X(TfLiteInterpreterCreate)                      \
  X(TfLiteInterpreterDelete)                      \
  X(TfLiteInterpreterGetInputTensorCount)         \
  X(TfLiteInterpreterGetInputTensor)              \
  X(TfLiteInterpreterGetOutputTensorCount)        \
  X(TfLiteInterpreterGetOutputTensor)             \
  X(TfLiteInterpreterResizeInputTensor)           \
  X(TfLiteInterpreterAllocateTensors)             \
  X(TfLiteInterpreterInvoke)                      \
  X(TfLiteTensorType)                             \
  X(TfLiteTensorNumDims)                          \
  X(TfLiteTensorDim)                              \
  X(TfLiteTensorByteSize)                         \
  X(TfLiteTensorData)                             \
  X(TfLiteTensorName)                             \
  X(TfLiteTensorQuantizationParams)               \
  X(TfLiteTensorCopyFromBuffer)                   \
  X(TfLiteTensorCopyToBuffer)                     \
  X(TfLiteXNNPackDelegateOptionsDefault)          \
  X(TfLiteXNNPackDelegateCreate)                  \
  X(TfLiteXNNPackDelegateDelete)                  \
  O(TfLiteInterpreterResetVariableTensors)        \
  O(TfLiteInterpreterOptionsSetUseNNAPI)          \
  O(TfLiteInterpreterOptionsAddBuiltinOp)         \
  O(TfLiteInterpreterOptionsAddCustomOp)

#define GPU(X, O)                      \
  X(TfLiteGpuDelegateOptionsV2Default) \
  X(TfLiteGpuDelegateV2Create)         \
  X(TfLiteGpuDelegateV2Delete)

static int absent(void) { return 0; }

/* A function is one jump through its pointer: it leaves arguments and results
 * as they are, so that no prototype is repeated. */
#define POINTER(name) __attribute__((used, visibility("hidden"))) void *forward_##name = (void *)absent;

#if defined(__APPLE__)
#define SYMBOL(name) "_" #name
#define TYPE(name) ""
#else
#define SYMBOL(name) #name
#define TYPE(name) ".type " #name ", %function\n"
#endif

#if defined(__x86_64__)
#define JUMP(name) "jmp *" SYMBOL(forward_##name) "(%rip)\n"
#elif defined(__aarch64__) && defined(__APPLE__)
#define JUMP(name)                                   \
  "adrp x16, " SYMBOL(forward_##name) "@PAGE\n"      \
  "ldr x16, [x16, " SYMBOL(forward_##name) "@PAGEOFF]\n" \
  "br x16\n"
#elif defined(__aarch64__)
#define JUMP(name)                 \
  "adrp x16, forward_" #name "\n"  \
  "ldr x16, [x16, #:lo12:forward_" #name "]\n" \
  "br x16\n"
#else
#error "forward.c knows amd64 and arm64"
#endif

#define FUNCTION(name) \
  __asm__(".text\n.balign 16\n.globl " SYMBOL(name) "\n" TYPE(name) SYMBOL(name) ":\n" JUMP(name));

TFLITE(POINTER, POINTER)
GPU(POINTER, POINTER)
TFLITE(FUNCTION, FUNCTION)
GPU(FUNCTION, FUNCTION)

typedef struct { const char *name; void **pointer; int optional; } Function;

#define REQUIRED(name) {#name, &forward_##name, 0},
#define OPTIONAL(name) {#name, &forward_##name, 1},
static const Function tflite[] = {TFLITE(REQUIRED, OPTIONAL) {NULL, NULL, 0}};
static const Function gpu[] = {GPU(REQUIRED, OPTIONAL) {NULL, NULL, 0}};

static const Function *functions(ForwardLibrary library) { return library == FORWARD_GPU ? gpu : tflite; }

int forward_load(ForwardLibrary library, const char *path, char *reason, size_t size) {
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    const char *message = dlerror();
    snprintf(reason, size, "%s", message ? message : "unknown error of the loader");
    return 1;
  }
  size_t used = 0;
  reason[0] = 0;
  for (const Function *f = functions(library); f->name; f++) {
    if (f->optional || dlsym(handle, f->name)) continue;
    int n = snprintf(reason + used, size - used, "%s%s", used ? ", " : "", f->name);
    used += (size_t)n < size - used ? (size_t)n : size - used - 1;
  }
  if (used) {
    dlclose(handle);
    return 2;
  }
  for (const Function *f = functions(library); f->name; f++) {
    void *symbol = dlsym(handle, f->name);
    if (symbol) *f->pointer = symbol;
  }
  return 0;
}

const char *forward_path(ForwardLibrary library) {
  Dl_info info;
  if (!dladdr(*functions(library)[0].pointer, &info) || !info.dli_fname) return "";
  return info.dli_fname;
}
