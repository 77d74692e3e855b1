/* A GPU delegate that takes no node. */
#include <forward.h>

static TfLiteStatus prepare(TfLiteContext *context, TfLiteDelegate *delegate) {
  (void)context, (void)delegate;
  return kTfLiteOk;
}

static TfLiteDelegate delegate = {.Prepare = prepare};

ForwardOptions TfLiteGpuDelegateOptionsV2Default(void) { return (ForwardOptions){0}; }
TfLiteDelegate *TfLiteGpuDelegateV2Create(const ForwardOptions *options) { return options ? &delegate : NULL; }
void TfLiteGpuDelegateV2Delete(TfLiteDelegate *d) { (void)d; }
