//go:build !linux

package pamauth

// Harden has nothing to do: no modules are run.
func Harden() error { return nil }
