package pamauth

import (
	"fmt"
	"math"
	"strconv"
)

// noUID is the uid of an account that Unix does not know. The zero value would be root.
const noUID = -1

// Inspect is what the system has of an account, without PAM and without its groups: for commands,
// which run with the rights of an administrator. An account that Unix does not know has UID -1 and
// the name as given. The error wraps ErrRefused or ErrBroken.
func Inspect(name string, key StateKey) (Account, error) {
	if err := (Login{User: name, AccountOnly: true, StateKey: key}).check(); err != nil {
		return Account{}, err
	}
	shadow, err := openShadow(key)
	if err != nil {
		return Account{}, err
	}
	defer shadow.close()
	known, err := lookup(name)
	if err != nil {
		return Account{}, errAccount(fmt.Sprintf("look up %q", name), err)
	}
	account := Account{Name: name, UID: noUID}
	if known != nil {
		account.Name = known.Username
		uid, err := strconv.ParseUint(known.Uid, 10, 32)
		if err != nil {
			return Account{}, fmt.Errorf("%w: look up %q: uid %w", ErrBroken, name, err)
		}
		account.UID = uidOf(uint32(uid))
	}
	account.Shadow, err = shadow.find(account.Name, account.UID)
	return account, err
}

func errAccount(what string, err error) error {
	return fmt.Errorf("%w: %s: %w\n  check that \"id\" shows the account and its groups on this machine",
		ErrBroken, what, err)
}

// uidOf is noUID for the number that the kernel gives to no user: uid_t has no sign.
func uidOf(n uint32) int {
	if n == math.MaxUint32 {
		return noUID
	}
	return int(n)
}
