//go:build linux && cgo

package pamauth

import (
	"os"
	"strconv"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == onceArgument {
		exit(authenticateOnce(Stack{Service: os.Args[2], Confdir: os.Args[3]}))
	}
	if len(os.Args) == 4 && os.Args[1] == earlyArgument {
		exit(authenticateEarly(Stack{Service: os.Args[2], Confdir: os.Args[3]}))
	}
	if len(os.Args) == 2 && os.Args[1] == unusedArgument {
		exit(endEarly())
	}
	if len(os.Args) == 4 && os.Args[1] == stateArgument {
		exit(printState(Stack{Service: os.Args[2], Confdir: os.Args[3]}))
	}
	if len(os.Args) == 5 && os.Args[1] == manyArgument {
		exit(authenticateMany(Stack{Service: os.Args[2], Confdir: os.Args[3]}, number(os.Args[4])))
	}
	if len(os.Args) == 3 && os.Args[1] == snoopArgument {
		exit(snoop(number(os.Args[2])))
	}
	os.Exit(m.Run())
}

// hide keeps other programs of the same user from reading this process.
func hide() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0)
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}
