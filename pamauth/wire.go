package pamauth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Parent and child are the same program and speak this over a socket: when the child has hidden itself one greeting out, then one order in, one
// verdict out.
//
//	greeting one byte
//	order    length (4 bytes) version flags brand (8 bytes) service confdir tty user password remote
//	verdict  version outcome text { group id (4 bytes) name }
//
// where each text is its length in two bytes and its bytes.

const (
	wireVersion = 1
	// greeting is not wireVersion, so that a verdict that comes unasked is none.
	greeting = 'r'
	// maxOrder in bytes: a path, a name, a password and little else.
	maxOrder = 16 << 10
	// maxText in bytes is the most that a verdict says.
	maxText = 2 << 10
	// maxVerdict in bytes: a verdict waits in the socket (208 KiB where nobody has changed net.core.wmem_default) until it is read. It has room
	// for two thousand groups.
	maxVerdict = 60 << 10
)

const (
	flagAccountOnly = 1 << iota
	flagGroups
	allFlags = 1<<iota - 1
)

// order is what the parent wants asked. Its fields are exported so that a password prints as stars here too.
type order struct {
	Stack Stack
	TTY   string
	Login Login
	Brand brand
}

// outcome is the first word of a verdict.
type outcome byte

const (
	accepted outcome = 'y'
	refused  outcome = 'n'
	broken   outcome = 'b'
)

// verdict is what the child found: the account's name and groups if accepted, else the cause.
type verdict struct {
	outcome outcome
	text    string
	groups  []Group
}

func (o order) encode() ([]byte, error) {
	b := []byte{0, 0, 0, 0, wireVersion, 0}
	if o.Login.AccountOnly {
		b[5] |= flagAccountOnly
	}
	if o.Login.Groups {
		b[5] |= flagGroups
	}
	b = binary.BigEndian.AppendUint64(b, uint64(o.Brand))
	for _, s := range []string{o.Stack.Service, o.Stack.Confdir, o.TTY, o.Login.User, o.Login.Password.Reveal(), o.Login.Remote} {
		if len(s) > maxOrder {
			return nil, errors.New("order is too long")
		}
		b = appendText(b, s)
	}
	if len(b) > maxOrder {
		return nil, errors.New("order is too long")
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b, nil
}

func readOrder(r io.Reader) (order, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return order{}, fmt.Errorf("read order: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxOrder {
		return order{}, fmt.Errorf("read order: %d bytes are too many", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return order{}, fmt.Errorf("read order: %w", err)
	}
	return decodeOrder(b)
}

func decodeOrder(b []byte) (order, error) {
	if len(b) < 10 || b[0] != wireVersion || b[1] > allFlags {
		return order{}, errors.New("read order: not an order of this version")
	}
	var o order
	o.Login.AccountOnly = b[1]&flagAccountOnly != 0
	o.Login.Groups = b[1]&flagGroups != 0
	o.Brand = brand(binary.BigEndian.Uint64(b[2:]))
	b = b[10:]
	var password string
	for _, s := range []*string{&o.Stack.Service, &o.Stack.Confdir, &o.TTY, &o.Login.User, &password, &o.Login.Remote} {
		var ok bool
		if *s, b, ok = cutText(b); !ok {
			return order{}, errors.New("read order: cut short")
		}
	}
	if len(b) != 0 {
		return order{}, errors.New("read order: more than an order")
	}
	o.Login.Password = Password(password)
	return o, nil
}

// encode makes a verdict of too many groups one that says so: with some of them missing, rules would be answered wrongly.
func (v verdict) encode() []byte {
	text := v.text
	if len(text) > maxText {
		text = text[:maxText]
	}
	b := appendText([]byte{wireVersion, byte(v.outcome)}, text)
	for _, g := range v.groups {
		b = appendText(binary.BigEndian.AppendUint32(b, g.ID), g.Name)
	}
	if len(b) > maxVerdict {
		return verdict{outcome: broken, text: fmt.Sprintf("the account is in %d groups, more than can be handed over", len(v.groups))}.encode()
	}
	return b
}

func decodeVerdict(b []byte) (verdict, error) {
	if len(b) < 2 || b[0] != wireVersion {
		return verdict{}, errors.New("not a verdict of this version")
	}
	v := verdict{outcome: outcome(b[1])}
	switch v.outcome {
	case accepted, refused, broken:
	default:
		return verdict{}, errors.New("not a verdict")
	}
	text, rest, ok := cutText(b[2:])
	if !ok || len(b) > maxVerdict || len(text) > maxText || len(rest) > 0 && v.outcome != accepted {
		return verdict{}, errors.New("not one whole verdict")
	}
	v.text = text
	for len(rest) > 0 {
		var g Group
		if g, rest, ok = cutGroup(rest); !ok {
			return verdict{}, errors.New("not one whole verdict")
		}
		v.groups = append(v.groups, g)
	}
	return v, nil
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
