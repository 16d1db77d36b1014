//go:build linux && cgo

package pamauth

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
)

const password1 = "correct horse"

// A real child takes the request, and no other.
func TestAChildTakesAWholeRequestOnly(t *testing.T) {
	stack := newServiceDir(t).stack("test", permitAuth, permitAccount)
	whole, err := request{Stack: stack, Login: Login{User: "alice", Password: password, Remote: "2001:db8::1"}}.encode()
	if err != nil {
		t.Fatal(err)
	}
	size := func(b []byte) []byte {
		binary.NativeEndian.PutUint32(b, uint32(len(b)-4))
		return b
	}
	version := bytes.Clone(whole)
	version[4]++
	tests := []struct {
		name  string
		frame []byte
		taken bool
	}{
		{"whole", whole, true},
		{"whole with more behind it", append(bytes.Clone(whole), "more"...), true},
		{"of another version", version, false},
		{"with a text too many", size(append(bytes.Clone(whole), 0)), false},
		{"with a text too few", size(bytes.Clone(whole[:len(whole)-len("2001:db8::1\x00")])), false},
		{"without its last NUL", size(bytes.Clone(whole[:len(whole)-1])), false},
		{"cut short", whole[:len(whole)-1], false},
		{"without texts", size(bytes.Clone(whole[:14])), false},
		{"empty", []byte{0, 0, 0, 0}, false},
		{"longer than its bound", append([]byte{0xff, 0xff, 0xff, 0x7f}, make([]byte, maxRequest)...), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := child(stack, nil).start()
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			sent := p.sendRequest(t.Context(), tt.frame)
			if !tt.taken {
				p.closeWrite()
			}
			<-p.ended
			a, err := p.answer()
			if tt.taken && (!sent || err != nil || a.name != "alice") || !tt.taken && err == nil {
				t.Errorf("got %+v, %v", a, err)
			}
		})
	}
}

func TestARequestThatCannotBeSentIsAnError(t *testing.T) {
	for name, r := range map[string]request{
		"too long":      {Stack: Stack{"test", "/" + strings.Repeat("x", maxRequest)}},
		"with a NUL":    {Stack: Stack{"test", "/x\x00y"}},
		"just too long": {Stack: Stack{"", strings.Repeat("x", maxRequest-4-10-5+1)}},
	} {
		if _, err := r.encode(); err == nil {
			t.Errorf("one %s was encoded", name)
		}
	}
	if b, err := (request{Stack: Stack{"", strings.Repeat("x", maxRequest-14-5)}}).encode(); err != nil ||
		len(b) != cap(b) {
		t.Errorf("the longest: %d bytes in a buffer of %d, %v", len(b), cap(b), err)
	}
}

// encodeAnswer is what child.c does.
func encodeAnswer(a childAnswer) []byte {
	var flags byte
	if a.unanswered {
		flags |= 1
	}
	if a.tooMany {
		flags |= 2
	}
	if a.leftOver {
		flags |= 4
	}
	b := binary.NativeEndian.AppendUint32([]byte{0, 0, 0, 0, 5, a.phase, flags}, uint32(a.code))
	if a.phase == phaseDone {
		for _, g := range append([]Group{{a.name, uint32(a.uid)}}, a.groups...) {
			b = append(append(binary.NativeEndian.AppendUint32(b, g.ID), g.Name...), 0)
		}
	}
	return sized(b)
}

// sized sets the length of an answer.
func sized(b []byte) []byte {
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

func answers() map[string]childAnswer {
	return map[string]childAnswer{
		"refused":         {phase: 4, code: 7},
		"a prompt":        {phase: 4, code: 19, unanswered: true},
		"many messages":   {phase: 5, code: 19, tooMany: true, leftOver: true},
		"an account":      {phase: phaseDone, name: "alice", uid: 1000},
		"root":            {phase: phaseDone, name: "root"},
		"no Unix account": {phase: phaseDone, name: "alice", uid: noUID},
		"the highest uid": {phase: phaseDone, name: "alice", uid: uidOf(1<<32 - 2)},
		"groups": {
			phase:  phaseDone,
			name:   "alice",
			uid:    1,
			groups: []Group{{"développeurs", 1<<32 - 1}, {"", 0}},
		},
	}
}

func TestAnAnswerArrivesAsItWasSent(t *testing.T) {
	for name, want := range answers() {
		if got, err := decodeAnswer(encodeAnswer(want)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: sent %v, got %v, %v", name, want, got, err)
		}
	}
}

func TestAnAnswerThatIsNotOne(t *testing.T) {
	whole := encodeAnswer(answers()["groups"])
	version := bytes.Clone(whole)
	version[4]++
	refusal := bytes.Clone(whole)
	refusal[5] = 4
	for name, b := range map[string][]byte{
		"another version":           version,
		"a refusal with an account": refusal,
		"more than an answer":       append(bytes.Clone(whole), 0),
		"a group cut short":         sized(bytes.Clone(whole[:len(whole)-1])),
		"two answers":               append(bytes.Clone(whole), whole...),
		"a very long one":           sized(append(bytes.Clone(whole), make([]byte, maxAnswer)...)),
	} {
		if got, err := decodeAnswer(b); err == nil {
			t.Errorf("%s was decoded: %v", name, got)
		}
	}
	for n := range len(whole) {
		if got, err := decodeAnswer(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes were decoded: %v", n, len(whole), got)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, a := range answers() {
		f.Add(encodeAnswer(a))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAnswer(b)
		_ = a.err()
		if err == nil && b[6] < 8 && !bytes.Equal(encodeAnswer(a), b) {
			t.Errorf("read %x, wrote %x", b, encodeAnswer(a))
		}
	})
}
