package credentials

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dockerauth/store"
)

// Login is a refresh token in use.
type Login struct {
	ID      string
	User    string
	Client  string // client_id, as the client sent it
	Remote  string
	First   time.Time // when it was issued
	Last    time.Time // the day of the last use
	Expires time.Time
}

// NoteLogin notes the issue or use of a refresh token, once a day. First and Last are filled in if
// they are zero. It may be called after the answer, and what it notes may be forgotten.
func (r *Records) NoteLogin(ctx context.Context, l Login) error {
	now := r.now()
	if l.First.IsZero() {
		l.First = now
	}
	if !IsRefreshID(l.ID) || checkUser(l.User) != nil || !l.Expires.After(now) {
		return errors.New("note login: no refresh token has such an ID, user or end")
	}
	key := loginPrefix + fold(l.User) + "/" + l.ID
	values, err := r.Counters.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("note login: %w", err)
	}
	today := r.today()
	if known, ok := decodeLogin(key, values[0]); ok {
		if !known.Last.Before(today) {
			return nil
		}
		l.First = known.First
	}
	value := encode(loginRecord{User: l.User, Client: printable(l.Client), Remote: printable(l.Remote),
		First: l.First.Unix(), Last: today.Unix(), Expires: l.Expires.Unix()})
	err = r.Counters.Update(ctx, []string{key}, func([]store.Record) []store.Record {
		return []store.Record{{Value: value, Until: l.Expires}}
	})
	if err != nil {
		return fmt.Errorf("note login: %w", err)
	}
	return nil
}

// decodeLogin reports false for what is no such record: it may be forgotten.
func decodeLogin(key string, value []byte) (Login, bool) {
	if value == nil {
		return Login{}, false
	}
	id := key[strings.LastIndexByte(key, '/')+1:]
	l, err := decode[loginRecord](value)
	if err != nil || !IsRefreshID(id) || key != loginPrefix+fold(l.User)+"/"+id || l.First < 0 || l.First > year9999 ||
		l.Last < 0 || l.Last > year9999 || l.Expires < 0 || l.Expires > year9999 {
		return Login{}, false
	}
	return Login{ID: id, User: l.User, Client: l.Client, Remote: l.Remote, First: time.Unix(l.First, 0),
		Last: time.Unix(l.Last, 0), Expires: time.Unix(l.Expires, 0)}, true
}

// Logins calls visit for the refresh tokens that the store knows and that are not revoked, by user;
// user "" = all.
func (r *Records) Logins(ctx context.Context, user string, visit func(Login) bool) error {
	err := r.listLogins(ctx, user, func(some []Login) (more bool, err error) {
		some, err = r.notRevoked(ctx, some)
		for i := 0; i < len(some) && err == nil; i++ {
			if !visit(some[i]) {
				return false, nil
			}
		}
		return true, err
	})
	if err != nil {
		return fmt.Errorf("list logins: %w", err)
	}
	return nil
}

// listLogins calls visit for some logins at a time, revoked ones too.
func (r *Records) listLogins(ctx context.Context, user string, visit func([]Login) (more bool, err error)) error {
	prefix := loginPrefix
	if user != "" {
		prefix += fold(user) + "/"
	}
	return inBatches(ctx, r.Counters, prefix, func(some []listed) (bool, error) {
		var logins []Login
		for _, one := range some {
			l, ok := decodeLogin(prefix+one.id, one.value)
			if ok && (user == "" || fold(l.User) == fold(user)) {
				logins = append(logins, l)
			}
		}
		return visit(logins)
	})
}

// notRevoked returns those of some logins that are not revoked.
func (r *Records) notRevoked(ctx context.Context, some []Login) (valid []Login, err error) {
	var keys []string
	for _, l := range some {
		keys = append(keys, revokedPrefix+l.ID, beforeKey(l.User))
	}
	slices.Sort(keys)
	keys = slices.Compact(keys) // all keys of a Get are different
	values, err := r.Kept.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	found := map[string][]byte{}
	for i, key := range keys {
		found[key] = values[i]
	}
	for _, l := range some {
		t := RefreshToken{ID: l.ID, User: l.User, Issued: l.First}
		if t.notRevoked(found[revokedPrefix+l.ID], found[beforeKey(l.User)]) == nil {
			valid = append(valid, l)
		}
	}
	return valid, nil
}
