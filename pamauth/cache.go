package pamauth

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// maxCache in bytes is what a Cache remembers. An account in twenty groups takes about one kilobyte, so this is for thousands of logins within
// the time that answers are kept.
const maxCache = 4 << 20

// entryBytes is about what an entry takes in memory beside its texts, its place in the map included.
const entryBytes, groupBytes = 256, 24

// Cache answers a login that PAM let in again for d without asking PAM; d ≤ 0 means never. A client asks for a token with the same password for
// each repository it touches, and a password check costs what it costs.
//
// What an operator must know: an account that was locked, or had its password changed, logs in with the old answer for d at most, counted from
// when PAM was asked. A refused account check of a user ends that user's answers at once. A one-time code is good for d. Modules that
// note logins note the first. Only what PAM let in is kept: no refusal and no fault.
//
// It stands before everything else, so that an answer that is known waits for no seat of a Gate.
//
// observer is told of each answer from the cache; nil = nobody is.
func Cache(d time.Duration, next Conversation, observer Observer) Conversation {
	if d <= 0 {
		return next
	}
	return &cache{keep: d, next: next, observer: orUnobserved(observer), now: time.Now, secret: newSecret()}
}

// cache has two generations: when the young one is full or old enough, it becomes the old one, which is dropped. So what has run out goes away
// unasked, in no time, and the sum stays bounded.
type cache struct {
	keep     time.Duration
	next     Conversation
	observer Observer
	now      func() time.Time // with a monotonic reading: a clock that is set must neither lengthen nor end an answer
	secret   secret

	mu         sync.Mutex
	young, old map[digest]entry
	weight     int       // of young, in bytes
	born       time.Time // young
}

// entry is what PAM said at a moment not before asked.
type entry struct {
	asked   time.Time
	user    string // of the login; modules may have renamed the account
	account Account
}

func (c *cache) Hold(ctx context.Context, l Login) (Account, error) {
	key, asked := c.secret.of(l), c.now()
	if account, ok := c.find(key, asked); ok {
		c.observer.CacheHit()
		return account, nil
	}
	account, err := c.next.Hold(ctx, l)
	switch {
	case err == nil:
		c.add(key, entry{asked, l.User, clone(account)})
	case errors.Is(err, ErrRefused):
		c.forget(key, l)
	}
	return account, err
}

func (c *cache) find(key digest, now time.Time) (Account, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.young[key]
	if !ok {
		e, ok = c.old[key]
	}
	if !ok || now.Sub(e.asked) >= c.keep {
		return Account{}, false
	}
	return clone(e.account), true
}

func (c *cache) add(key digest, e entry) {
	weight, now := e.weight(), c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.young == nil || c.weight+weight > maxCache/2 || now.Sub(c.born) >= c.keep {
		c.old, c.young, c.weight, c.born = c.young, map[digest]entry{}, 0, now
	}
	delete(c.old, key)
	c.young[key] = e
	c.weight += weight // once more for a key that is there already: that only makes the generation shorter
}

func (e entry) weight() int {
	w := entryBytes + len(e.user) + len(e.account.Name)
	for _, g := range e.account.Groups {
		w += groupBytes + len(g.Name)
	}
	return w
}

// forget ends the answer to a login that PAM refuses now, and with an account check everything about the account, whose name may be the one
// that a module gave it. A refused password says nothing about another one: or strangers could empty the cache.
func (c *cache) forget(key digest, l Login) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, generation := range []map[digest]entry{c.young, c.old} {
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

// clone shares nothing that anyone could write to.
func clone(a Account) Account {
	a.Groups = slices.Clone(a.Groups)
	return a
}
