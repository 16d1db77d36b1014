//go:build linux && cgo

package pamauth

// #include "child.h"
import "C"

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
)

// What child.h describes, for the parent.
const (
	readyByte  = C.READY
	maxRequest = C.MAX_REQUEST
	maxAnswer  = C.MAX_ANSWER
	phaseDone  = C.PHASE_DONE
)

// request is what the child is to ask. Its fields are exported so that a password prints as stars.
type request struct {
	Stack           Stack
	Login           Login
	Tag             processTag
	NoNewPrivileges bool
}

var errRequest = errors.New("request is too long or holds a NUL")

// encode allocates once, so that no other copy of the password is left.
func (r request) encode() ([]byte, error) {
	texts := []string{r.Stack.Service, r.Stack.confdir(), r.Login.User, r.Login.Password.Reveal(), r.Login.Remote}
	const head = 4 + 2 + 8
	size := head
	for _, text := range texts {
		size += len(text) + 1
		if strings.Contains(text, "\x00") {
			return nil, errRequest
		}
	}
	if size > maxRequest {
		return nil, errRequest
	}
	b := make([]byte, 0, size)
	b = binary.NativeEndian.AppendUint32(b, uint32(size-4))
	b = append(b, C.PROTOCOL, r.flags())
	b = binary.NativeEndian.AppendUint64(b, uint64(r.Tag))
	for _, text := range texts {
		b = append(b, text...)
		b = append(b, 0)
	}
	return b, nil
}

func (r request) flags() (flags byte) {
	if r.Login.AccountOnly {
		flags |= C.ACCOUNT_ONLY
	}
	if r.Login.LookUpOnly && r.Login.AccountOnly {
		flags |= C.LOOK_UP_ONLY
	}
	if r.Login.Groups {
		flags |= C.GROUPS
	}
	if r.NoNewPrivileges {
		flags |= C.NO_NEW_PRIVS
	}
	return flags
}

// childAnswer is what the child says. uid, name and groups go with phaseDone.
type childAnswer struct {
	phase      byte
	unanswered bool
	tooMany    bool // messages
	leftOver   bool // processes are
	code       int  // see child.h
	uid        int
	name       string
	groups     []Group
}

var errAnswer = errors.New("not an answer of this version")

func decodeAnswer(b []byte) (childAnswer, error) {
	const head = 4 + 3 + 4
	if len(b) < head || len(b) > maxAnswer || binary.NativeEndian.Uint32(b) != uint32(len(b)) || b[4] != C.PROTOCOL {
		return childAnswer{}, errAnswer
	}
	a := childAnswer{
		phase:      b[5],
		unanswered: b[6]&C.UNANSWERED != 0,
		tooMany:    b[6]&C.TOO_MANY_MESSAGES != 0,
		leftOver:   b[6]&C.LEFT_OVER != 0,
		code:       int(int32(binary.NativeEndian.Uint32(b[7:]))),
	}
	b = b[head:]
	if a.phase != phaseDone {
		if len(b) > 0 {
			return childAnswer{}, errAnswer
		}
		return a, nil
	}
	account, b, ok := cutGroup(b)
	if !ok {
		return childAnswer{}, errAnswer
	}
	a.uid, a.name = uidOf(account.ID), account.Name
	for len(b) > 0 {
		var g Group
		if g, b, ok = cutGroup(b); !ok {
			return childAnswer{}, errAnswer
		}
		a.groups = append(a.groups, g)
	}
	return a, nil
}

// cutGroup cuts a number and a name.
func cutGroup(b []byte) (g Group, rest []byte, ok bool) {
	if len(b) < 4 {
		return Group{}, nil, false
	}
	name, rest, ok := bytes.Cut(b[4:], []byte{0})
	return Group{Name: string(name), ID: binary.NativeEndian.Uint32(b)}, rest, ok
}
