package credentials

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"dockerauth/store"
)

// Records are the credentials in a store. All methods may be called at once by anybody.
type Records struct {
	Kept     store.Store      // tokens, revocations, and the store's own id
	Counters store.Store      // logins, which may be forgotten
	Now      func() time.Time // nil = time.Now

	sleep func(context.Context, time.Duration) error // nil = until a timer fires
}

// The keys in Kept, and the last in Counters.
const (
	idKey         = "id"
	tokenPrefix   = "token/"
	usePrefix     = "use/"
	revokedPrefix = "revoked/"
	beforePrefix  = "before/"
	loginPrefix   = "login/"
)

// afterEnd is how long a record stays after its token has ended, so that the log can say why it is
// refused.
const afterEnd = 7 * 24 * time.Hour

func (r *Records) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

// today is when the day began, in UTC.
func (r *Records) today() time.Time { return r.now().Truncate(24 * time.Hour) }

// fold makes spellings of a user name equal that differ in case: a directory may ignore it.
func fold(user string) string { return strings.ToLower(strings.ToUpper(user)) }

func beforeKey(user string) string { return beforePrefix + fold(user) }

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

func guessed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrGuess, fmt.Sprintf(format, args...))
}

func unknown(err error) error { return fmt.Errorf("%w: %w", ErrUnknown, err) }

// Issue keeps a new token. ID, and Created if it is zero, are filled in.
func (r *Records) Issue(ctx context.Context, s Secret, t Token) (Token, error) {
	now := r.now()
	if t.ID = s.ID; t.Created.IsZero() {
		t.Created = now
	}
	t.Created, t.Expires = wholeSeconds(t.Created), wholeSeconds(t.Expires)
	t.Keep = t.Keep || t.Kind == Robot
	t.Replaced, t.Revoked, t.LastUse, t.LastFrom = "", nil, time.Time{}, ""
	err := t.check()
	if last := now.Add(store.MaxKeep - afterEnd); err == nil && (!t.Expires.After(now) || t.Expires.After(last)) {
		err = fmt.Errorf("its end is past, or after %s", last.Format(time.DateOnly))
	}
	value := t.encode(s.hash())
	if err == nil && len(value) > maxRecord {
		err = fmt.Errorf("its record has %d bytes, and %d is the most: name fewer scopes and addresses", len(value),
			maxRecord)
	}
	if err != nil {
		return Token{}, fmt.Errorf("issue token: %w", err)
	}
	taken := false
	err = r.Kept.Update(ctx, []string{idKey, tokenPrefix + t.ID}, func(old []store.Record) []store.Record {
		if taken = old[1].Value != nil; taken {
			return old
		}
		return []store.Record{keepID(old[0]), {Value: value, Until: t.Expires.Add(afterEnd)}}
	})
	if err == nil && taken {
		err = fmt.Errorf("ID %s is taken: make another", t.ID)
	}
	if err != nil {
		return Token{}, fmt.Errorf("issue token: %w", err)
	}
	return t, nil
}

func wholeSeconds(t time.Time) time.Time { return time.Unix(t.Unix(), 0) }

// keepID makes the store's id if there is none. No clock ends it.
func keepID(old store.Record) store.Record {
	if old.Value == nil {
		old.Value = encode(idRecord{rand.Text()})
	}
	old.Until = store.Forever
	return old
}

// ID identifies what the store knows. It is made when it is first wanted. A store that was emptied
// has another, so that what its revocations may have touched is refused.
func (r *Records) ID(ctx context.Context) (string, error) {
	values, err := r.Kept.Get(ctx, idKey)
	if err == nil && values[0] == nil {
		err = r.Kept.Update(ctx, []string{idKey}, func(old []store.Record) []store.Record {
			old[0] = keepID(old[0])
			values = [][]byte{old[0].Value}
			return old
		})
	}
	if err != nil {
		return "", fmt.Errorf("read id of the store: %w", err)
	}
	return decodeID(values[0])
}

var errNoID = errors.New("the store is new or was emptied: a login makes its id")

func decodeID(value []byte) (string, error) {
	if value == nil {
		return "", errNoID
	}
	id, err := decode[idRecord](value)
	if err == nil && !IsRefreshID(id.ID) { // both are made by rand.Text
		err = errors.New("damaged record")
	}
	if err != nil {
		return "", fmt.Errorf("read id of the store: %w", err)
	}
	return id.ID, nil
}

// Check returns the token that a client sent as the password of a login, if it may be used now,
// from an address. Whether the account is still in order is for the caller to check, with State.
// Errors are ErrRefused, which may be an ErrGuess, or ErrUnknown.
func (r *Records) Check(ctx context.Context, s Secret, login, remote string) (Token, error) {
	values, err := r.Kept.Get(ctx, idKey, tokenPrefix+s.ID, usePrefix+s.ID)
	if err != nil {
		return Token{}, unknown(err)
	}
	if _, err := decodeID(values[0]); err != nil {
		return Token{}, unknown(err)
	}
	if values[1] == nil {
		return Token{}, guessed("no token has the ID %s: it has ended, or this store never had it", s.ID)
	}
	t, hash, err := decodeToken(s.ID, values[1])
	if err != nil {
		return Token{}, unknown(fmt.Errorf("token %s: %w", s.ID, err))
	}
	t.addUse(values[2])
	if err := t.mayBeUsed(s, hash, login, remote, r.now()); err != nil {
		return Token{}, err
	}
	return t, nil
}

// mayBeUsed says why a token may not be used, to the operator.
func (t *Token) mayBeUsed(s Secret, hash []byte, login, remote string, now time.Time) error {
	switch {
	case subtle.ConstantTimeCompare(hash, s.hash()) != 1:
		return guessed("the text is not that of token %s", t.ID)
	case login != t.Login():
		// The other name is not shown: clients have sent secrets there.
		return refused("token %s is for the user name %q, and another one was sent", t.ID, t.Login())
	case t.Revoked != nil:
		return refused("token %s was revoked at %s", t.ID, t.Revoked.text())
	case !now.Before(t.Expires) && t.Replaced != "":
		return refused("token %s was replaced by %s", t.ID, t.Replaced)
	case !now.Before(t.Expires):
		return refused("token %s ended at %s", t.ID, t.Expires.UTC().Format(time.RFC3339))
	case !t.acceptsFrom(remote):
		return refused("token %s is not accepted from the address %q", t.ID, shortened(remote))
	}
	return nil
}

func (t *Token) acceptsFrom(remote string) bool {
	if len(t.From) == 0 {
		return true
	}
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(t.From, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// addUse fills in the last use. A damaged record of it says nothing; the next use replaces it.
func (t *Token) addUse(value []byte) {
	if value == nil {
		return
	}
	if use, err := decode[useRecord](value); err == nil && use.Day > 0 && use.Day <= year9999 {
		t.LastUse, t.LastFrom = time.Unix(use.Day, 0), use.From
	}
}

// useTimeout bounds a note of a use, which may be lost: others wait behind it.
const useTimeout = time.Second

// Use notes a use of a kept token, as Check returned it, once a day, and reports whether it is the
// first of the day. It may be called after the answer, and takes about a second at most.
func (r *Records) Use(ctx context.Context, t Token, remote string) (first bool, err error) {
	today := r.today()
	if !t.LastUse.Before(today) {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, useTimeout)
	defer cancel()
	value := encode(useRecord{today.Unix(), printable(remote)})
	err = r.Kept.Update(ctx, []string{usePrefix + t.ID}, func(old []store.Record) []store.Record {
		var before Token
		before.addUse(old[0].Value)
		if first = before.LastUse.Before(today); first {
			old[0] = store.Record{Value: value, Until: t.Expires.Add(afterEnd)}
		}
		return old
	})
	if err != nil {
		return false, fmt.Errorf("note use of token %s: %w", t.ID, err)
	}
	return first, nil
}

// printable bounds what a client sent, and drops what could change a line of a list.
func printable(text string) string {
	const most = 128
	text = strings.ToValidUTF8(text[:min(most, len(text))], "")
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return -1
	}, text)
}

// Get returns a token, revoked and replaced ones too, until it has expired. The error may be
// ErrNotFound.
func (r *Records) Get(ctx context.Context, id string) (Token, error) {
	if err := checkID(id, false); err != nil {
		return Token{}, err
	}
	values, err := r.Kept.Get(ctx, tokenPrefix+id, usePrefix+id)
	if err != nil {
		return Token{}, fmt.Errorf("read token %s: %w", id, err)
	}
	t, err := r.tokenOf(id, values[0])
	if err != nil {
		return Token{}, err
	}
	t.addUse(values[1])
	return t, nil
}

// tokenOf reads a record; the error of one that is not there or has expired is ErrNotFound.
func (r *Records) tokenOf(id string, value []byte) (Token, error) {
	if value == nil {
		return Token{}, fmt.Errorf("token %s: %w", id, ErrNotFound)
	}
	t, _, err := decodeToken(id, value)
	if err == nil && !r.now().Before(t.Expires) {
		err = ErrNotFound
	}
	if err != nil {
		return Token{}, fmt.Errorf("token %s: %w", id, err)
	}
	return t, nil
}

// checkID returns what is wrong with the shape of an ID, without a secret that was given for one.
func checkID(id string, orRefresh bool) error {
	switch {
	case IsTokenID(id), orRefresh && IsRefreshID(id):
		return nil
	case strings.HasPrefix(id, Prefix):
		return fmt.Errorf("the text of a token is not its ID\n  give the %d characters after %s", IDLen, Prefix)
	case len(id) > 2*IDLen && !IsRefreshID(id):
		return fmt.Errorf("a text of %d characters is no ID\n  give one from the log, or from dockerauth token list",
			len(id))
	}
	return fmt.Errorf("%q is no ID of a token\n  give one from the log, or from dockerauth token list", id)
}

// List calls visit for all tokens, in the order of their IDs, until visit returns false.
func (r *Records) List(ctx context.Context, visit func(Token) bool) error {
	var unread []error
	err := inBatches(ctx, r.Kept, tokenPrefix, func(some []listed) (bool, error) {
		keys := make([]string, len(some))
		for i, l := range some {
			keys[i] = usePrefix + l.id
		}
		uses, err := r.Kept.Get(ctx, keys...)
		if err != nil {
			return false, err
		}
		for i, l := range some {
			t, err := r.tokenOf(l.id, l.value)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				unread = append(unread, err)
				continue
			}
			if t.addUse(uses[i]); !visit(t) {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		err = fmt.Errorf("list tokens: %w", err)
	}
	return errors.Join(append(unread[:min(len(unread), maxErrors)], err)...)
}

// maxErrors bounds what is said of damaged records: each further one is like these.
const maxErrors = 10

// listed is a record whose key is a prefix and an ID.
type listed struct {
	id    string
	value []byte
}

// batch is how many records one round trip is about.
const batch = 100

// inBatches calls visit for the records with a prefix, some at a time, until it returns false.
func inBatches(ctx context.Context, s store.Store, prefix string, visit func([]listed) (bool, error)) error {
	var some []listed
	more, failed := true, error(nil)
	flush := func() bool {
		if more && failed == nil && len(some) > 0 {
			more, failed = visit(some)
		}
		some = nil
		return more && failed == nil
	}
	err := s.List(ctx, prefix, func(key string, rec store.Record) bool {
		some = append(some, listed{strings.TrimPrefix(key, prefix), rec.Value})
		return len(some) < batch || flush()
	})
	if err != nil {
		return err
	}
	flush()
	return failed
}

// Rotate replaces a token that is neither revoked nor replaced by one that differs in secret, ID
// and state, and lives as long from now on. The old one ends after the overlap.
func (r *Records) Rotate(ctx context.Context, id string, s Secret, state State, overlap time.Duration) (Token, error) {
	if err := checkID(id, false); err != nil {
		return Token{}, err
	}
	now := r.now()
	end := wholeSeconds(now.Add(max(0, overlap)))
	var next Token
	var refusal error
	keys := []string{idKey, tokenPrefix + id, tokenPrefix + s.ID}
	err := r.Kept.Update(ctx, keys, func(old []store.Record) []store.Record {
		t, err := r.tokenOf(id, old[1].Value)
		switch {
		case err != nil:
			refusal = err
		case t.Revoked != nil:
			refusal = fmt.Errorf("token %s is revoked: issue another", id)
		case t.Replaced != "":
			refusal = fmt.Errorf("token %s was already replaced by %s: rotate that one", id, t.Replaced)
		case old[2].Value != nil:
			refusal = fmt.Errorf("ID %s is taken: make another", s.ID)
		default:
			refusal = nil
		}
		if refusal != nil {
			return old
		}
		next = t
		next.ID, next.State, next.Created = s.ID, state, wholeSeconds(now)
		next.Expires = next.Created.Add(t.Expires.Sub(t.Created))
		if refusal = next.check(); refusal != nil {
			return old
		}
		if t.Replaced = next.ID; end.Before(t.Expires) {
			t.Expires = end
		}
		_, hash, _ := decodeToken(id, old[1].Value)
		return []store.Record{
			keepID(old[0]),
			{Value: t.encode(hash), Until: t.Expires.Add(afterEnd)},
			{Value: next.encode(s.hash()), Until: next.Expires.Add(afterEnd)},
		}
	})
	if err = errors.Join(err, refusal); err != nil {
		return Token{}, fmt.Errorf("rotate token: %w", err)
	}
	return next, nil
}
