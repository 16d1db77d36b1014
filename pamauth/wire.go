package pamauth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Parent and child are the same program. Over a socket, the child sends the ready byte once other
// processes cannot read it, the parent sends a request, the child sends a response:
//
//	request  length (4 bytes) version flags tag (8 bytes) service confdir user password remote key
//	response version status text, and if accepted uid (4 bytes) shadow { group id (4 bytes) name }
//	shadow   0 (unread), 1 (none), or 2 (found) locked digest (16 bytes)
//
// Each text is its length in two bytes and its bytes. An empty state key is none. The uid
// 0xffffffff is none.

const (
	wireVersion = 3
	// readyByte differs from wireVersion, so that an early response is not taken for it.
	readyByte = 'r'
	// maxRequest in bytes: a path, a name, a password and little else.
	maxRequest = 16 << 10
	// maxText in bytes bounds the text of a response.
	maxText = 2 << 10
	// maxResponse in bytes: a response waits in the socket's buffer (208 KiB unless
	// net.core.wmem_default was changed) until it is read. Two thousand groups fit.
	maxResponse = 60 << 10
)

const (
	flagAccountOnly = 1 << iota
	flagLookUpOnly
	flagGroups
	allFlags = 1<<iota - 1
)

// request is what the child is to ask. Its fields are exported so that a password prints as stars.
type request struct {
	Stack Stack
	Login Login
	Tag   processTag
}

// status is the kind of a response.
type status byte

const (
	accepted status = 'y'
	refused  status = 'n'
	broken   status = 'b'
)

// response is the child's answer. The text is the account's name if accepted, else the cause; the
// other fields are the account's.
type response struct {
	status status
	text   string
	uid    int
	shadow Shadow
	groups []Group
}

func (r request) encode() ([]byte, error) {
	b := []byte{0, 0, 0, 0, wireVersion, 0}
	if r.Login.AccountOnly {
		b[5] |= flagAccountOnly
	}
	if r.Login.LookUpOnly {
		b[5] |= flagLookUpOnly
	}
	if r.Login.Groups {
		b[5] |= flagGroups
	}
	b = binary.BigEndian.AppendUint64(b, uint64(r.Tag))
	for _, s := range []string{
		r.Stack.Service, r.Stack.Confdir, r.Login.User, r.Login.Password.Reveal(), r.Login.Remote,
		string(r.Login.StateKey),
	} {
		if len(s) > maxRequest {
			return nil, errors.New("request is too long")
		}
		b = appendText(b, s)
	}
	if len(b) > maxRequest {
		return nil, errors.New("request is too long")
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b, nil
}

func readRequest(r io.Reader) (request, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return request{}, fmt.Errorf("read request: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxRequest {
		return request{}, fmt.Errorf("read request: %d bytes are too many", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return request{}, fmt.Errorf("read request: %w", err)
	}
	return decodeRequest(b)
}

func decodeRequest(b []byte) (request, error) {
	if len(b) < 10 || b[0] != wireVersion || b[1] > allFlags {
		return request{}, errors.New("read request: not a request of this version")
	}
	var r request
	r.Login.AccountOnly = b[1]&flagAccountOnly != 0
	r.Login.LookUpOnly = b[1]&flagLookUpOnly != 0
	r.Login.Groups = b[1]&flagGroups != 0
	r.Tag = processTag(binary.BigEndian.Uint64(b[2:]))
	b = b[10:]
	var password, stateKey string
	for _, s := range []*string{
		&r.Stack.Service, &r.Stack.Confdir, &r.Login.User, &password, &r.Login.Remote, &stateKey,
	} {
		var ok bool
		if *s, b, ok = cutText(b); !ok {
			return request{}, errors.New("read request: truncated")
		}
	}
	if len(b) != 0 {
		return request{}, errors.New("read request: more than one request")
	}
	r.Login.Password = Password(password)
	if stateKey != "" {
		r.Login.StateKey = StateKey(stateKey)
	}
	return r, nil
}

// encode turns a response with too many groups into an error: with some of them missing, access
// rules would give wrong answers.
func (r response) encode() []byte {
	text := r.text
	if len(text) > maxText {
		text = text[:maxText]
	}
	b := appendText([]byte{wireVersion, byte(r.status)}, text)
	if r.status != accepted {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, uint32(r.uid))
	b = appendShadow(b, r.shadow)
	for _, g := range r.groups {
		b = appendText(binary.BigEndian.AppendUint32(b, g.ID), g.Name)
	}
	if len(b) > maxResponse {
		return response{
			status: broken,
			text:   fmt.Sprintf("account is in %d groups, more than fit into a response", len(r.groups)),
		}.encode()
	}
	return b
}

func decodeResponse(b []byte) (response, error) {
	if len(b) < 2 || b[0] != wireVersion {
		return response{}, errors.New("not a response of this version")
	}
	r := response{status: status(b[1])}
	switch r.status {
	case accepted, refused, broken:
	default:
		return response{}, errors.New("not a response")
	}
	text, rest, ok := cutText(b[2:])
	if !ok || len(b) > maxResponse || len(text) > maxText || len(rest) > 0 && r.status != accepted {
		return response{}, errors.New("truncated or oversized response")
	}
	r.text = text
	if r.status != accepted {
		return r, nil
	}
	if len(rest) < 4 {
		return response{}, errors.New("truncated or oversized response")
	}
	r.uid = uidOf(binary.BigEndian.Uint32(rest))
	if r.shadow, rest, ok = cutShadow(rest[4:]); !ok {
		return response{}, errors.New("truncated or oversized response")
	}
	for len(rest) > 0 {
		var g Group
		if g, rest, ok = cutGroup(rest); !ok {
			return response{}, errors.New("truncated or oversized response")
		}
		r.groups = append(r.groups, g)
	}
	return r, nil
}

func appendShadow(b []byte, s Shadow) []byte {
	b = append(b, byte(s.Status))
	if s.Status != ShadowFound {
		return b
	}
	var locked byte
	if s.Locked {
		locked = 1
	}
	return append(append(b, locked), s.Digest[:]...)
}

func cutShadow(b []byte) (s Shadow, rest []byte, ok bool) {
	if len(b) == 0 || ShadowStatus(b[0]) > ShadowFound {
		return Shadow{}, nil, false
	}
	s.Status, b = ShadowStatus(b[0]), b[1:]
	if s.Status != ShadowFound {
		return s, b, true
	}
	if len(b) < 1+len(s.Digest) || b[0] > 1 {
		return Shadow{}, nil, false
	}
	s.Locked = b[0] == 1
	return s, b[1+copy(s.Digest[:], b[1:]):], true
}

func cutGroup(b []byte) (g Group, rest []byte, ok bool) {
	if len(b) < 4 {
		return Group{}, nil, false
	}
	g.ID = binary.BigEndian.Uint32(b)
	g.Name, rest, ok = cutText(b[4:])
	return g, rest, ok
}

func appendText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func cutText(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 2 {
		return "", nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return "", nil, false
	}
	return string(b[2 : 2+n]), b[2+n:], true
}
