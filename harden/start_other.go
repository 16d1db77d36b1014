//go:build !linux || !cgo

package harden

// Unpin has nothing to do.
func Unpin() {}
