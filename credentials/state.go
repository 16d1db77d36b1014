package credentials

// State is what the system says of an account, as far as credentials depend on it.
type State struct {
	UID    int    `json:"uid"`              // -1 = Unix does not know the account
	Shadow string `json:"shadow"`           // a keyed digest of the entry in /etc/shadow, or one of the two below
	Locked bool   `json:"locked,omitempty"` // as by "usermod -L", where the entry can be read
}

// Values of State.Shadow that are no digest.
const (
	ShadowNone   = "none"   // /etc/shadow has no entry for the account
	ShadowUnread = "unread" // /etc/shadow cannot be read
)

// StillSame reports whether an account is as it was when a refresh token or a personal token was issued: the same uid
// and the same entry in /etc/shadow. The error is an ErrRefused if not, and an ErrUnknown if the
// entry counts but can no longer be read.
//
//	issued \ now   digest         none      unread
//	digest         must be equal  refused   unknown
//	none, unread   refused        uid only  uid only
func (issued State) StillSame(now State) error { panic("TODO") }

// StillThere is StillSame for a credential that survives a change of the password: the same uid, and
// not locked unless it was so at issue.
func (issued State) StillThere(now State) error { panic("TODO") }
