package pamauth

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
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

// check is the last check before C strings: the handler has refused these logins already. The error
// wraps ErrRefused and does not quote the value.
func (l Login) check() error {
	if err := checkName(l.User); err != nil {
		return fmt.Errorf("%w: user name %w", ErrRefused, err)
	}
	if len(l.Remote) > maxRemote || strings.ContainsFunc(l.Remote, unicode.IsControl) {
		return fmt.Errorf("%w: remote address is not valid", ErrRefused)
	}
	if l.AccountOnly {
		return nil
	}
	if err := checkPassword(l.Password.Reveal()); err != nil {
		return fmt.Errorf("%w: password %w", ErrRefused, err)
	}
	return nil
}

// checkName refuses what is no account's name. A NUL would end the C string early, so that
// "alice\x00x" is alice. Slashes and dots would leave a folder in modules that keep a file for each
// user. A leading dash would be an option of a program that a module starts.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case len(name) > maxName:
		return fmt.Errorf("is longer than %d bytes", maxName)
	case !utf8.ValidString(name):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("holds a control character")
	case strings.ContainsAny(name, "/:"):
		return errors.New("holds a slash or a colon")
	case name == "." || name == "..":
		return errors.New("is a directory name")
	case name[0] == '-':
		return errors.New("begins with a dash")
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
