package credentials

import "fmt"

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

// StillSame reports whether an account is as it was when a refresh token or a personal token was
// issued: the same uid and the same entry in /etc/shadow. The error is an ErrRefused if not, and an
// ErrUnknown if the entry counts but can no longer be read.
//
//	issued \ now   digest         none      unread
//	digest         must be equal  refused   unknown
//	none, unread   refused        uid only  uid only
func (issued State) StillSame(now State) error {
	if err := issued.sameUID(now); err != nil {
		return err
	}
	switch {
	case isDigest(issued.Shadow) && now.Shadow == ShadowUnread:
		return fmt.Errorf("%w: whether the password was changed is in /etc/shadow, which can no longer be read",
			ErrUnknown)
	case isDigest(issued.Shadow) && now.Shadow == ShadowNone:
		return fmt.Errorf("%w: the account has no entry in /etc/shadow any more", ErrRefused)
	case isDigest(issued.Shadow) && now.Shadow != issued.Shadow:
		return fmt.Errorf("%w: the password was changed or locked since", ErrRefused)
	case !isDigest(issued.Shadow) && isDigest(now.Shadow):
		return fmt.Errorf("%w: it does not depend on /etc/shadow, where the account has an entry now", ErrRefused)
	}
	return nil
}

// StillThere is StillSame for a credential that survives a change of the password: the same uid,
// and not locked unless it was so at issue.
func (issued State) StillThere(now State) error {
	if err := issued.sameUID(now); err != nil {
		return err
	}
	if now.Locked && !issued.Locked {
		return fmt.Errorf("%w: the account was locked since", ErrRefused)
	}
	return nil
}

func isDigest(shadow string) bool { return shadow != ShadowNone && shadow != ShadowUnread }

func (issued State) sameUID(now State) error {
	switch {
	case issued.Shadow == "" || now.Shadow == "": // never filled in
		return fmt.Errorf("%w: nothing is known of the account", ErrUnknown)
	case issued.UID != now.UID:
		return fmt.Errorf("%w: the account has uid %d, it had %d: it was deleted and made again", ErrRefused,
			now.UID, issued.UID)
	}
	return nil
}
