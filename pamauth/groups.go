package pamauth

import (
	"errors"
	"os/user"
	"strconv"
)

// Groups returns the Unix groups of an account, the primary one included; none for an account that
// Unix does not know.
func Groups(name string) ([]Group, error) {
	account, err := lookup(name)
	if account == nil {
		return nil, err
	}
	return groupsOf(account)
}

// lookup finds an account; nil = Unix does not know it, but PAM may (pam_userdb). It asks NSS, so
// that the account is that of any directory that the machine uses. It may hang like a PAM module,
// so a conversation looks it up in the child, in C.
func lookup(name string) (*user.User, error) {
	account, err := user.Lookup(name)
	if errors.As(err, new(user.UnknownUserError)) {
		return nil, nil
	}
	return account, err
}

func groupsOf(account *user.User) ([]Group, error) {
	ids, err := account.GroupIds()
	if err != nil {
		return nil, err
	}
	groups := make([]Group, 0, len(ids))
	for _, id := range ids {
		group, err := user.LookupGroupId(id)
		if errors.As(err, new(user.UnknownGroupIdError)) {
			continue // no rule can name it
		}
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, err
		}
		groups = append(groups, Group{Name: group.Name, ID: uint32(n)})
	}
	return groups, nil
}
