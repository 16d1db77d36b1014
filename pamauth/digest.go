package pamauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// secret is the key of login digests. It is random and lives as long as the process, so that nobody
// can guess passwords against a digest in a memory dump without it.
type secret [sha256.Size]byte

// digest stands for a login. Equal logins have equal digests.
type digest [sha256.Size]byte

func newSecret() (s secret) {
	_, _ = rand.Read(s[:]) // never fails since Go 1.24
	return s
}

// digest covers everything in a login that PAM's answer depends on. Each text is preceded by its
// length, so that no two logins read the same.
func (s secret) digest(l Login) (d digest) {
	if l.AccountOnly {
		l.Password = ""
	}
	b := fmt.Appendf(nil, "%t %t %t ", l.AccountOnly, l.LookUpOnly, l.Groups)
	for _, text := range []string{l.User, l.Password.Reveal(), l.Remote, string(l.StateKey)} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
		b = append(b, text...)
	}
	mac := hmac.New(sha256.New, s[:])
	mac.Write(b)
	clear(b)
	mac.Sum(d[:0])
	return d
}
