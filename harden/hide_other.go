//go:build !linux

package harden

// Hide has nothing to do: dockerauth serves logins on Linux only.
func Hide() {}

// Process has nothing to do: no PAM modules are run.
func Process() error { return nil }
