//go:build !linux || !cgo

package harden

// ForgetEnvironment has nothing to do: without PAM no password is used.
func ForgetEnvironment() {}
