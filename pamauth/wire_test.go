package pamauth

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func requests() []request {
	return []request{
		{Stack: Stack{"dockerauth", ""}, Login: Login{User: "alice", Password: password1}, Tag: 1 << 61},
		{Stack: Stack{"test", "/a/folder"},
			Login: Login{User: "алиса", Password: "\xff\x01\n", Remote: "2001:db8::1"}, Tag: 1<<62 - 1},
		{Login: Login{User: "alice", AccountOnly: true}},
		{Login: Login{User: "alice", Groups: true}},
	}
}

const password1 = "correct horse"

func TestARequestArrivesAsItWasSent(t *testing.T) {
	for _, o := range requests() {
		frame, err := o.encode()
		if err != nil {
			t.Fatal(err)
		}
		// readRequest stops at the end of the request.
		got, err := readRequest(bytes.NewReader(append(frame, "more"...)))
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("sent %v %q, got %v %q, %v", o, o.Login.Password.Reveal(), got, got.Login.Password.Reveal(), err)
		}
	}
}

func TestATruncatedRequestIsAnError(t *testing.T) {
	for _, o := range requests() {
		frame, err := o.encode()
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(frame) {
			if _, err := readRequest(bytes.NewReader(frame[:n])); err == nil {
				t.Errorf("%d of %d bytes were a request", n, len(frame))
			}
		}
	}
}

func TestARequestThatIsTooLargeIsAnError(t *testing.T) {
	if _, err := (request{Stack: Stack{"test", "/" + strings.Repeat("x", maxRequest)}}).encode(); err == nil {
		t.Error("was encoded")
	}
	if _, err := readRequest(strings.NewReader("\xff\xff\xff\xff")); err == nil ||
		!strings.Contains(err.Error(), "too many") {
		t.Errorf("was read: %v", err)
	}
}

func TestAResponseIsBounded(t *testing.T) {
	b := response{status: broken, text: strings.Repeat("x", 1<<20)}.encode()
	if len(b) > maxResponse {
		t.Errorf("%d bytes", len(b))
	}
	v, err := decodeResponse(b)
	if err != nil || v.status != broken || len(v.text) != maxText {
		t.Errorf("got %c and %d bytes, %v", v.status, len(v.text), err)
	}
}

// With some of them missing, access rules would give wrong answers.
func TestTooManyGroupsAreAnError(t *testing.T) {
	many := response{status: accepted, text: "alice"}
	for i := range 2000 {
		many.groups = append(many.groups, Group{strings.Repeat("g", 20), uint32(i)})
	}
	if v, err := decodeResponse(many.encode()); err != nil || len(v.groups) != 2000 {
		t.Errorf("2000 groups became %d, %v", len(v.groups), err)
	}
	many.groups = append(many.groups, many.groups...)
	if v, err := decodeResponse(many.encode()); err != nil || v.status != broken ||
		!strings.Contains(v.text, "4000 groups") {
		t.Errorf("4000 groups became %c %q, %v", v.status, v.text, err)
	}
}

// Every request that can be decoded encodes to the same bytes: no two frames mean the same.
func FuzzRequest(f *testing.F) {
	for _, o := range requests() {
		frame, err := o.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame[4:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeRequest(b)
		if err != nil || len(b) > maxRequest-4 {
			return
		}
		frame, err := o.encode()
		if err != nil || !bytes.Equal(frame[4:], b) {
			t.Errorf("read %x, wrote %x, %v", b, frame, err)
		}
	})
}

func FuzzResponse(f *testing.F) {
	for _, v := range []response{
		{status: accepted, text: "alice"}, {status: refused, text: "authenticate: PAM_AUTH_ERR (7)"}, {status: broken},
		{status: accepted, text: "alice", groups: []Group{{"users", 100}, {"développeurs", 1<<32 - 1}, {"", 0}}},
	} {
		f.Add(v.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeResponse(b)
		if err == nil && !bytes.Equal(v.encode(), b) {
			t.Errorf("read %x, wrote %x", b, v.encode())
		}
	})
}
