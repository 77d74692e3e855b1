/* A library with two of the functions. */
const char *TfLiteVersion(void) { return "1.15"; }
void TfLiteModelDelete(void *model) { (void)model; }
