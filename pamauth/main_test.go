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
	if len(os.Args) == 4 && os.Args[1] == holdArgument {
		exit(holdAndTell(Stack{Service: os.Args[2], Confdir: os.Args[3]}))
	}
	os.Exit(m.Run())
}
