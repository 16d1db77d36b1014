package pamauth

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func orders() []order {
	return []order{
		{Stack: Stack{"dockerauth", ""}, Login: Login{User: "alice", Password: password1}, Brand: 1 << 61},
		{Stack: Stack{"test", "/a/folder"}, TTY: "tty", Login: Login{User: "алиса", Password: "\xff\x01\n", Remote: "2001:db8::1"}, Brand: 1<<62 - 1},
		{Login: Login{User: "alice", AccountOnly: true}},
		{Login: Login{User: "alice", Groups: true}},
	}
}

const password1 = "correct horse"

func TestOrderArrivesAsItWasSent(t *testing.T) {
	for _, o := range orders() {
		frame, err := o.encode()
		if err != nil {
			t.Fatal(err)
		}
		// What follows an order in the pipe is none of its business.
		got, err := readOrder(bytes.NewReader(append(frame, "more"...)))
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("sent %v %q, got %v %q, %v", o, o.Login.Password.Reveal(), got, got.Login.Password.Reveal(), err)
		}
	}
}

func TestCutOrderIsAnError(t *testing.T) {
	for _, o := range orders() {
		frame, err := o.encode()
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(frame) {
			if _, err := readOrder(bytes.NewReader(frame[:n])); err == nil {
				t.Errorf("%d of %d bytes were an order", n, len(frame))
			}
		}
	}
}

func TestOrderTooLargeIsAnError(t *testing.T) {
	if _, err := (order{Stack: Stack{"test", "/" + strings.Repeat("x", maxOrder)}}).encode(); err == nil {
		t.Error("was encoded")
	}
	if _, err := readOrder(strings.NewReader("\xff\xff\xff\xff")); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("was read: %v", err)
	}
}

func TestVerdictKeepsToItsBound(t *testing.T) {
	b := verdict{outcome: broken, text: strings.Repeat("x", 1<<20)}.encode()
	if len(b) > maxVerdict {
		t.Errorf("%d bytes", len(b))
	}
	v, err := decodeVerdict(b)
	if err != nil || v.outcome != broken || len(v.text) != maxText {
		t.Errorf("got %c and %d bytes, %v", v.outcome, len(v.text), err)
	}
}

// With some of them left out, rules would be answered wrongly.
func TestTooManyGroupsAreAFault(t *testing.T) {
	many := verdict{outcome: accepted, text: "alice"}
	for i := range 2000 {
		many.groups = append(many.groups, Group{strings.Repeat("g", 20), uint32(i)})
	}
	if v, err := decodeVerdict(many.encode()); err != nil || len(v.groups) != 2000 {
		t.Errorf("2000 groups became %d, %v", len(v.groups), err)
	}
	many.groups = append(many.groups, many.groups...)
	if v, err := decodeVerdict(many.encode()); err != nil || v.outcome != broken || !strings.Contains(v.text, "4000 groups") {
		t.Errorf("4000 groups became %c %q, %v", v.outcome, v.text, err)
	}
}

// What is read as an order is written as the same bytes: no two frames mean the same, and none means something that it does not say.
func FuzzOrder(f *testing.F) {
	for _, o := range orders() {
		frame, err := o.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame[4:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeOrder(b)
		if err != nil || len(b) > maxOrder-4 {
			return
		}
		frame, err := o.encode()
		if err != nil || !bytes.Equal(frame[4:], b) {
			t.Errorf("read %x, wrote %x, %v", b, frame, err)
		}
	})
}

func FuzzVerdict(f *testing.F) {
	for _, v := range []verdict{
		{outcome: accepted, text: "alice"}, {outcome: refused, text: "authenticate: PAM_AUTH_ERR (7)"}, {outcome: broken},
		{outcome: accepted, text: "alice", groups: []Group{{"users", 100}, {"développeurs", 1<<32 - 1}, {"", 0}}},
	} {
		f.Add(v.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeVerdict(b)
		if err == nil && !bytes.Equal(v.encode(), b) {
			t.Errorf("read %x, wrote %x", b, v.encode())
		}
	})
}
