// Package checkpoint reads files of trained weights into named tensors: what torch.save writes (the zip archive
// since torch 1.6 and the stream before it) and safetensors. It also writes safetensors.
//
// A checkpoint is untrusted input. The pickle inside a torch file is read as data: nothing that it names is imported,
// called or constructed; a table in globals.go lists the names that are understood and what plain data each becomes, any
// other is refused by name. The format is recognised by content, never by the file's name.
//
// Memory is bounded by the file. Opening a file and reading each of its tensors once takes at most three times the
// file's size plus a constant; budget.go keeps the account. Tensors are read lazily: a training run's optimizer state
// costs nothing.
//
// Read checkpoint.go first, then torch.go (container), pickle.go (the pickle machine), globals.go (what it may make),
// weights.go (which of the values are the weights) and tensor.go (a view's bytes to float32).
package checkpoint
