//go:build !linux || !cgo

package pamauth

import (
	"context"
	"fmt"
	"io"
)

// This build has no PAM: libpam is a C library, and what keeps a conversation in bounds is Linux's.
const noPAM = "this program was built without PAM\n  build it on Linux with CGO_ENABLED=1, a C compiler and the headers of libpam (Debian: gcc libpam0g-dev)"

func (InProcess) Hold(context.Context, Login) (Account, error) {
	return Account{}, fmt.Errorf("%w: %s", ErrBroken, noPAM)
}

func (Child) Hold(context.Context, Login) (Account, error) {
	return Account{}, fmt.Errorf("%w: %s", ErrBroken, noPAM)
}

// RunChild answers that there is no PAM.
func RunChild(_ io.Reader, stdout io.Writer, _ func() error) int {
	_, _ = fmt.Fprintln(stdout, noPAM)
	return 1
}

// TakeAside has nothing to do: no modules are run.
func TakeAside(stdin io.Reader, stdout io.Writer) (io.Reader, io.Writer, error) {
	return stdin, stdout, nil
}
