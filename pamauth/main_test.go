//go:build linux && cgo

package pamauth

import (
	"os"
	"testing"
)

// childArgument makes the test binary the program that Child starts.
const childArgument = "pam-conversation"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childArgument {
		exit(RunChild(os.Stdin, os.Stdout))
	}
	if len(os.Args) == 2 && os.Args[1] == hardenArgument {
		exit(hardenAndTell())
	}
	os.Exit(m.Run())
}
