package cli

import "runtime/debug"

// release is set by the linker when a release is built.
var release string

// Version is the release, or what the Go toolchain knows of the build.
func Version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
