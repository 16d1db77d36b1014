package pamauth

import (
	"context"
	"errors"
	"sync"
	"time"
)

// maxCache in bytes bounds a Cache. An account in twenty groups takes about one kilobyte, so there
// are thousands of logins.
const maxCache = 4 << 20

// entryBytes and groupBytes are about what an entry and a group take beside their texts.
const entryBytes, groupBytes = 256, 24

// Cache repeats an answer for d without asking PAM, if PAM let the login in; d ≤ 0 means no cache.
// A client asks for a token with the same password for each repository, and a password check is
// expensive.
//
// A change of /etc/passwd or /etc/shadow ends all answers, so that of a local account counts at
// once. An account of a directory that was locked, or whose password was changed, still logs in
// with the old answer for up to d, counted from when PAM was asked. A refused account check removes
// the user's answers at once. A one-time code is valid for d. Modules that record logins record the
// first. Refusals and errors are not cached.
//
// It comes before all other wrappers, so that a known answer needs no slot.
//
// observer is told of each answer from the cache; nil = no observer.
func Cache(d time.Duration, next Authenticator, observer Observer) Authenticator {
	if d <= 0 {
		return next
	}
	return &cache{ttl: d, next: next, observer: orNoObserver(observer), now: time.Now, files: stampFiles,
		secret: newSecret()}
}

// cache has two generations. When the current one is full or old enough, it becomes the previous
// one, which is dropped. So expired entries go away without a search, and the size is bounded.
type cache struct {
	ttl      time.Duration
	next     Authenticator
	observer Observer
	now      func() time.Time // with a monotonic reading: setting the clock must not change a ttl
	files    func() fileStamps
	secret   secret

	mu                sync.Mutex
	current, previous map[digest]entry
	size              int // of current, in bytes
	createdAt         time.Time
}

// entry is PAM's answer at a moment not before asked, when the files of accounts had the stamps.
type entry struct {
	asked   time.Time
	files   fileStamps
	user    string // of the login; modules may have renamed the account
	account Account
}

func (c *cache) Authenticate(ctx context.Context, l Login) (Account, error) {
	key, asked, files := c.secret.digest(l), c.now(), c.files()
	if account, ok := c.find(key, asked, files); ok {
		c.observer.CacheHit()
		return account, nil
	}
	account, err := c.next.Authenticate(ctx, l)
	switch {
	case err == nil && files.areSettled(asked):
		c.add(key, entry{asked, files, l.User, account.clone()})
	case errors.Is(err, ErrRefused):
		c.remove(key, l)
	}
	return account, err
}

func (c *cache) find(key digest, now time.Time, files fileStamps) (Account, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.current[key]
	if !ok {
		e, ok = c.previous[key]
	}
	if !ok || now.Sub(e.asked) >= c.ttl || e.files != files {
		return Account{}, false
	}
	return e.account.clone(), true
}

func (c *cache) add(key digest, e entry) {
	size, now := e.size(), c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil || c.size+size > maxCache/2 || now.Sub(c.createdAt) >= c.ttl {
		c.previous, c.current, c.size, c.createdAt = c.current, map[digest]entry{}, 0, now
	}
	delete(c.previous, key)
	c.current[key] = e
	c.size += size // again for a key that is there already: the generation only ends earlier
}

func (e entry) size() int {
	n := entryBytes + len(e.user) + len(e.account.Name)
	for _, g := range e.account.Groups {
		n += groupBytes + len(g.Name)
	}
	return n
}

// remove drops the answer to a login that PAM refuses now. For an account check it drops all of the
// account's answers, also under the name that a module gave it. A wrong password drops no other
// answers: otherwise anyone could empty the cache.
func (c *cache) remove(key digest, l Login) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, generation := range []map[digest]entry{c.current, c.previous} {
		delete(generation, key)
		if !l.AccountOnly {
			continue
		}
		for k, e := range generation {
			if e.user == l.User || e.account.Name == l.User {
				delete(generation, k)
			}
		}
	}
}
