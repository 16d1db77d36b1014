package credentials

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dockerauth/store"
)

// Revoke takes tokens back, kept ones and refresh tokens. IDs that are of no kept token are taken
// for those of refresh tokens: they are found in the log, and the store need not know them. It
// returns when the store has them all safe. An ID that has the wrong shape is an error before any
// is taken back. One of a kept token that the store does not have is an ErrNotFound after all
// others are. A token that is already revoked stays so, for the first reason.
func (r *Records) Revoke(ctx context.Context, reason string, ids ...string) error {
	err := checkText("reason", reason)
	targets := map[string]time.Time{}
	for _, id := range ids {
		err = errors.Join(err, checkID(id, true))
		if IsTokenID(id) {
			targets[tokenPrefix+id] = time.Time{}
		} else {
			targets[revokedPrefix+id] = store.Forever
		}
	}
	if err != nil {
		return fmt.Errorf("revoke nothing: %w", err)
	}
	done, err := r.revoke(ctx, Revocation{r.now(), reason}, targets)
	for _, id := range done.missing {
		err = errors.Join(err, fmt.Errorf("token %s: %w", id, ErrNotFound))
	}
	return err
}

// revocations are what revoke has done.
type revocations struct {
	tokens  []Token         // marked now
	logins  map[string]bool // revoked now, by ID
	missing []string        // IDs of kept tokens that are not there
}

// revoke marks the records of kept tokens and makes those of revoked refresh tokens, by key with
// their end.
func (r *Records) revoke(ctx context.Context, rev Revocation, targets map[string]time.Time) (revocations, error) {
	all := revocations{logins: map[string]bool{}}
	var failed error
	for keys := range slices.Chunk(slices.Sorted(maps.Keys(targets)), batch) {
		var some revocations
		var unread error
		err := r.Kept.Update(ctx, keys, func(old []store.Record) []store.Record {
			some, unread = revocations{logins: map[string]bool{}}, nil // it may be called again
			for i, key := range keys {
				if id, isToken := strings.CutPrefix(key, tokenPrefix); isToken {
					unread = errors.Join(unread, some.mark(&old[i], id, rev))
				} else if old[i].Value == nil {
					value := encode(revocationRecord{rev.At.Unix(), rev.Reason})
					old[i] = store.Record{Value: value, Until: targets[key]}
					some.logins[strings.TrimPrefix(key, revokedPrefix)] = true
				}
			}
			return old
		})
		if err != nil {
			return all, errors.Join(failed, fmt.Errorf("revoke %d tokens: %w", len(keys), err))
		}
		all.tokens, all.missing = append(all.tokens, some.tokens...), append(all.missing, some.missing...)
		maps.Copy(all.logins, some.logins)
		failed = errors.Join(failed, unread)
	}
	return all, failed
}

// mark revokes the token of a record. One that is revoked stays as it is.
func (rs *revocations) mark(record *store.Record, id string, rev Revocation) error {
	if record.Value == nil {
		rs.missing = append(rs.missing, id)
		return nil
	}
	t, hash, err := decodeToken(id, record.Value)
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	if t.Revoked == nil {
		t.Revoked = &Revocation{wholeSeconds(rev.At), rev.Reason}
		rs.tokens, record.Value = append(rs.tokens, t), t.encode(hash)
	}
	return nil
}

// RevokeUser takes back all credentials that an account has of some kinds; none = all. The case of
// its name does not matter, as for the blacklist: a directory may ignore it. It takes up
// to a second: tokens have whole seconds, and one that is issued after it returns is accepted.
// Revoked are the kept tokens, and the known logins, that were not so before. With an error they
// are those that were taken back nonetheless.
func (r *Records) RevokeUser(ctx context.Context, user, reason string, kinds ...Kind) (revoked []Token, logins []Login,
	err error) {
	kinds, err = kindsOf(kinds)
	if err = errors.Join(checkUser(user), checkText("reason", reason), err); err != nil {
		return nil, nil, fmt.Errorf("revoke nothing: %w", err)
	}
	now := r.now()
	if slices.Contains(kinds, Refresh) && now.Before(earliest) {
		return nil, nil, fmt.Errorf("revoke nothing: the clock of this machine shows %s, before all refresh tokens\n"+
			"  set the clock, or revoke tokens by their IDs", now.Format(time.DateOnly))
	}
	rev := Revocation{now, reason}
	next := wholeSeconds(now).Add(time.Second)
	if slices.Contains(kinds, Refresh) {
		if err := r.revokeBefore(ctx, user, next, rev); err != nil {
			return nil, nil, err
		}
	}
	revoked, err = r.revokeTokens(ctx, rev, kinds, func(t Token) bool { return fold(t.User) == fold(user) })
	if slices.Contains(kinds, Refresh) {
		err = errors.Join(err, r.wait(ctx, next.Sub(r.now()))) // logins meanwhile are listed too
		more, listErr := r.revokeLogins(ctx, user, rev)
		logins, err = more, errors.Join(err, listErr)
	}
	return revoked, logins, err
}

// kindsOf returns kinds, where none are all of them.
func kindsOf(kinds []Kind) ([]Kind, error) {
	all := []Kind{Refresh, Personal, Robot}
	for _, kind := range kinds {
		if !slices.Contains(all, kind) {
			return nil, fmt.Errorf("kind %q is none of %s, %s and %s", kind, Refresh, Personal, Robot)
		}
	}
	if len(kinds) == 0 {
		return all, nil
	}
	return kinds, nil
}

// RevokeAll takes back all credentials of some kinds that anybody has; none = all. It is for a
// store that has lost revocations, as one restored from a backup. Refresh tokens end because the
// store gets another id. Revoked are the kept tokens that were not so before; with an error they
// are those that were taken back nonetheless.
func (r *Records) RevokeAll(ctx context.Context, reason string, kinds ...Kind) (revoked []Token, err error) {
	kinds, err = kindsOf(kinds)
	if err = errors.Join(checkText("reason", reason), err); err != nil {
		return nil, fmt.Errorf("revoke nothing: %w", err)
	}
	if slices.Contains(kinds, Refresh) {
		id := keepID(store.Record{})
		err := r.Kept.Update(ctx, []string{idKey}, func([]store.Record) []store.Record { return []store.Record{id} })
		if err != nil {
			return nil, fmt.Errorf("revoke all refresh tokens: %w", err)
		}
	}
	return r.revokeTokens(ctx, Revocation{r.now(), reason}, kinds, func(Token) bool { return true })
}

// earliest is before all refresh tokens that the store knows.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// maxAhead is how far the clocks of two machines may differ. A time that is farther ahead was
// written with a wrong clock.
const maxAhead = time.Hour

// revokeBefore refuses refresh tokens that were issued before a time.
func (r *Records) revokeBefore(ctx context.Context, user string, t time.Time, rev Revocation) error {
	err := r.Kept.Update(ctx, []string{beforeKey(user)}, func(old []store.Record) []store.Record {
		last := t
		if before, err := decodeBefore(old[0].Value); err == nil && before.After(t) && before.Sub(t) <= maxAhead {
			last = before
		}
		value := encode(beforeRecord{last.Unix(), revocationRecord{rev.At.Unix(), rev.Reason}})
		return []store.Record{{Value: value, Until: store.Forever}}
	})
	if err != nil {
		return fmt.Errorf("revoke refresh tokens of %q: %w", user, err)
	}
	return nil
}

// decodeBefore returns the zero time for no record.
func decodeBefore(value []byte) (time.Time, error) {
	if value == nil {
		return time.Time{}, nil
	}
	b, err := decode[beforeRecord](value)
	if err == nil && b.Before <= 0 {
		err = errors.New("damaged record")
	}
	return time.Unix(b.Before, 0), err
}

// revokeTokens takes back some kept tokens. One that is rotated meanwhile may have a successor that
// the list has missed.
func (r *Records) revokeTokens(ctx context.Context, rev Revocation, kinds []Kind, isMeant func(Token) bool) (
	revoked []Token, err error) {
	if !slices.Contains(kinds, Personal) && !slices.Contains(kinds, Robot) {
		return nil, nil
	}
	var failed error
	for more := true; more; { // others may issue tokens meanwhile
		targets, err := r.listTargets(ctx, func(t Token) bool { return slices.Contains(kinds, t.Kind) && isMeant(t) })
		failed, more = err, false
		for len(targets) > 0 {
			done, err := r.revoke(ctx, rev, targets)
			revoked, failed = append(revoked, done.tokens...), errors.Join(failed, err)
			targets = map[string]time.Time{}
			for _, t := range done.tokens {
				if more = true; t.Replaced != "" {
					targets[tokenPrefix+t.Replaced] = time.Time{}
				}
			}
		}
		if failed != nil {
			return revoked, failed
		}
	}
	return revoked, nil
}

// listTargets returns the keys of tokens that are good, and of those that follow others: the list
// may have missed them, and a token that was replaced may be over.
func (r *Records) listTargets(ctx context.Context, isMeant func(Token) bool) (map[string]time.Time, error) {
	targets := map[string]time.Time{}
	var unread []error
	err := inBatches(ctx, r.Kept, tokenPrefix, func(some []listed) (bool, error) {
		for _, l := range some {
			t, _, err := decodeToken(l.id, l.value)
			if err != nil {
				unread = append(unread, fmt.Errorf("token %s: %w", l.id, err))
				continue
			}
			if !isMeant(t) {
				continue
			}
			if t.Revoked == nil && r.now().Before(t.Expires) {
				targets[tokenPrefix+t.ID] = time.Time{}
			}
			if t.Replaced != "" {
				targets[tokenPrefix+t.Replaced] = time.Time{}
			}
		}
		return true, nil
	})
	if err != nil {
		err = fmt.Errorf("list tokens: %w", err)
	}
	return targets, errors.Join(append(unread[:min(len(unread), maxErrors)], err)...)
}

// revokeLogins takes back the logins that the store knows, one by one: the clock of the machine
// that issued them may be ahead.
func (r *Records) revokeLogins(ctx context.Context, user string, rev Revocation) (logins []Login, err error) {
	targets := map[string]time.Time{}
	err = r.listLogins(ctx, user, func(some []Login) (bool, error) {
		for _, l := range some {
			logins, targets[revokedPrefix+l.ID] = append(logins, l), l.Expires.Add(afterEnd)
		}
		return true, nil
	})
	if err != nil {
		err = fmt.Errorf("list logins of %q: %w", user, err)
	}
	done, failed := r.revoke(ctx, rev, targets)
	wasRevoked := func(l Login) bool { return !done.logins[l.ID] }
	return slices.DeleteFunc(logins, wasRevoked), errors.Join(err, failed)
}

func (r *Records) wait(ctx context.Context, d time.Duration) error {
	if r.sleep != nil {
		return r.sleep(ctx, d)
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// RefreshToken is what a refresh token says of itself.
type RefreshToken struct {
	ID     string
	User   string
	Issued time.Time // whole seconds
	Store  string    // Records.ID when it was issued; "" = there was no store
}

// CheckRefresh reports whether a refresh token has been taken back, in one round trip. Errors are
// ErrRefused or ErrUnknown.
func (r *Records) CheckRefresh(ctx context.Context, t RefreshToken) error {
	if !IsRefreshID(t.ID) || checkUser(t.User) != nil {
		return refused("no refresh token has such an ID or user")
	}
	if t.Store == "" {
		return refused("it was issued when no store of revocations could be reached")
	}
	values, err := r.Kept.Get(ctx, idKey, revokedPrefix+t.ID, beforeKey(t.User))
	if err != nil {
		return unknown(err)
	}
	if err := t.notRevoked(values[1], values[2]); err != nil {
		return err
	}
	id, err := decodeID(values[0])
	switch {
	case err != nil:
		return unknown(err)
	case id != t.Store:
		return refused("it was issued with another store, whose revocations this one does not have")
	}
	return nil
}

// notRevoked reads the records about the token itself and about all of its user.
func (t *RefreshToken) notRevoked(revoked, before []byte) error {
	if revoked != nil {
		rev, err := decode[revocationRecord](revoked)
		if err != nil {
			return unknown(fmt.Errorf("revocation of refresh token %s: %w", t.ID, err))
		}
		return refused("refresh token %s was revoked at %s", t.ID, Revocation{time.Unix(rev.At, 0), rev.Reason}.text())
	}
	first, err := decodeBefore(before)
	if err != nil {
		return unknown(fmt.Errorf("revocation of all refresh tokens of %q: %w", t.User, err))
	}
	if t.Issued.Before(first) {
		return refused("refresh tokens of %q that were issued before %s are revoked", t.User,
			first.UTC().Format(time.RFC3339))
	}
	return nil
}
