package jwtsign

import (
	"crypto/sha256"
	"sync"
)

const (
	// maxShared bounds the tokens that are shared in a second, and maxSharedBytes each of them: a
	// megabyte in all.
	maxShared      = 128
	maxSharedBytes = 4 << 10
	// maxVerified bounds a generation of the refresh tokens that were verified: half a megabyte.
	maxVerified = 1024
)

// sharedTokens are the tokens of the anonymous client that were signed in one second. An account's
// token is its own, so that its id leads to one login.
type sharedTokens struct {
	mu     sync.Mutex
	issued int64                  // the second
	tokens map[string]sharedToken // by the claims, without the id
}

type sharedToken struct{ token, id string }

func (s *sharedTokens) find(issued int64, claims []byte) (sharedToken, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issued != issued {
		return sharedToken{}, false
	}
	t, ok := s.tokens[string(claims)]
	return t, ok
}

func (s *sharedTokens) add(issued int64, claims []byte, t sharedToken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil || s.issued != issued {
		s.issued, s.tokens = issued, map[string]sharedToken{}
	}
	if len(s.tokens) < maxShared && len(t.token) <= maxSharedBytes {
		s.tokens[string(claims)] = t
	}
}

// verifiedTokens remembers what refresh tokens with a good signature say, by their SHA-256. Only a
// client that has such a token can add one, or find out that it is there. When the current
// generation is full it becomes the previous one, which is dropped.
type verifiedTokens struct {
	mu                sync.Mutex
	current, previous map[[sha256.Size]byte]verifiedToken
}

type verifiedToken struct {
	claims RefreshClaims
	key    *Key
}

func (v *verifiedTokens) find(token [sha256.Size]byte) (verifiedToken, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t, ok := v.current[token]; ok {
		return t, true
	}
	t, ok := v.previous[token]
	if ok {
		v.addLocked(token, t)
	}
	return t, ok
}

func (v *verifiedTokens) add(token [sha256.Size]byte, t verifiedToken) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.addLocked(token, t)
}

func (v *verifiedTokens) addLocked(token [sha256.Size]byte, t verifiedToken) {
	if v.current == nil || len(v.current) >= maxVerified {
		v.previous, v.current = v.current, make(map[[sha256.Size]byte]verifiedToken)
	}
	v.current[token] = t
}
