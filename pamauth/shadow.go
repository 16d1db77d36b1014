package pamauth

// StateKey is a secret, and prints as stars.
type StateKey []byte

// Shadow is what /etc/shadow says of an account.
type Shadow struct {
	Status ShadowStatus
	Locked bool // the password field begins with "!", as after "usermod -L"
	// Digest is an HMAC-SHA256, cut to 128 bits, of name, uid and password field, under the Login's
	// StateKey. The field itself never leaves the process that reads it.
	Digest [16]byte
}

// ShadowStatus says what became of the look into /etc/shadow.
type ShadowStatus byte

const (
	ShadowUnread ShadowStatus = iota // it cannot be read, or was not asked for
	ShadowNone                       // it has no entry of that name
	ShadowFound
)

// Inspect is what the system has of an account, without PAM: for commands. An account that Unix does not
// know has UID -1 and the name as given.
func Inspect(name string, key StateKey) (Account, error) { panic("TODO") }
