package pamauth

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

const (
	// maxName in bytes is LOGIN_NAME_MAX of Linux.
	maxName = 256
	// maxPassword in bytes is PAM_MAX_RESP_SIZE of <security/_pam_types.h>. pam_unix takes
	// 511: libcrypt counts the NUL.
	maxPassword = 512
	// maxRemote in bytes holds any IP address with a zone.
	maxRemote = 128
)

// check is the last check before C strings: what is a user name is decided by the caller, which
// also decides on the name in Account. The error wraps ErrRefused and does not quote the value. For
// a bad StateKey, which no client has sent, it wraps ErrBroken.
func (l Login) check() error {
	switch {
	case l.User == "":
		return fmt.Errorf("%w: user name is empty", ErrRefused) // libpam would ask for one
	case len(l.User) > maxName:
		return fmt.Errorf("%w: user name is longer than %d bytes", ErrRefused, maxName)
	case strings.Contains(l.User, "\x00"): // to C, "alice\x00x" is alice
		return fmt.Errorf("%w: user name holds a NUL", ErrRefused)
	case len(l.Remote) > maxRemote || strings.ContainsFunc(l.Remote, unicode.IsControl):
		return fmt.Errorf("%w: remote address is not valid", ErrRefused)
	case l.StateKey != nil && len(l.StateKey) < minStateKey:
		return fmt.Errorf("%w: state key is shorter than %d bytes", ErrBroken, minStateKey)
	case l.AccountOnly:
		return nil
	}
	if err := checkPassword(l.Password.Reveal()); err != nil {
		return fmt.Errorf("%w: password %w", ErrRefused, err)
	}
	return nil
}

// checkPassword refuses the empty password: some modules (pam_unix with nullok) take it for "no
// password needed".
func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("is empty")
	case len(password) > maxPassword:
		return fmt.Errorf("is longer than %d bytes", maxPassword)
	case strings.Contains(password, "\x00"):
		return errors.New("holds a NUL")
	}
	return nil
}
