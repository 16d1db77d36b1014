//go:build !linux || !cgo

package pamauth

import (
	"context"
	"errors"
	"fmt"
)

// errNoPAM: libpam is a C library, and the limits of a conversation are those of Linux.
var errNoPAM = errors.New("dockerauth was built without PAM\n" +
	"  build it on Linux with CGO_ENABLED=1, a C compiler and the headers of libpam (Debian: gcc libpam0g-dev)")

// Authenticate fails.
func (Child) Authenticate(context.Context, Login) (Account, error) {
	return Account{}, fmt.Errorf("%w: %w", ErrBroken, errNoPAM)
}

// EndEarlyChild has nothing to do.
func EndEarlyChild() {}

// LoadModule fails.
func LoadModule(string) error { return errNoPAM }
