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
		{Login: Login{User: "alice", AccountOnly: true, LookUpOnly: true}},
		{Login: Login{User: "alice", Groups: true}},
		{Login: Login{User: "alice", AccountOnly: true, StateKey: StateKey("a key of random bytes\x00")}},
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

func TestAnAcceptedResponseArrivesAsItWasSent(t *testing.T) {
	for name, want := range responses() {
		if got, err := decodeResponse(want.encode()); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: sent %v, got %v, %v", name, want, got, err)
		}
	}
}

func responses() map[string]response {
	digest := [16]byte{0: 1, 15: 255}
	return map[string]response{
		"refused":         {status: refused, text: "authenticate: PAM_AUTH_ERR (7)"},
		"broken":          {status: broken},
		"an account":      {status: accepted, text: "alice", uid: 1000},
		"root":            {status: accepted, text: "root"},
		"no Unix account": {status: accepted, text: "alice", uid: noUID},
		"the highest uid": {status: accepted, text: "alice", uid: uidOf(1<<32 - 2)},
		"no entry":        {status: accepted, text: "alice", uid: 1000, shadow: Shadow{Status: ShadowNone}},
		"an entry":        {status: accepted, text: "alice", uid: 1000, shadow: Shadow{ShadowFound, false, digest}},
		"a locked one":    {status: accepted, text: "alice", uid: 1000, shadow: Shadow{ShadowFound, true, digest}},
		"groups":          {status: accepted, text: "alice", uid: 1, groups: []Group{{"users", 100}, {"", 0}}},
		"groups and an entry": {status: accepted, text: "alice", uid: 1, shadow: Shadow{ShadowFound, true, digest},
			groups: []Group{{"développeurs", 1<<32 - 1}}},
	}
}

func TestAResponseThatIsNotOne(t *testing.T) {
	whole := responses()["groups and an entry"].encode()
	const uid = 4 + len("alice") // after version, status and text
	change := func(at int, to byte) []byte {
		b := bytes.Clone(whole)
		b[at] = to
		return b
	}
	tests := map[string][]byte{
		"another version":         change(0, wireVersion+1),
		"an unknown status":       change(1, 'x'),
		"an unknown shadow state": change(uid+4, byte(ShadowFound)+1),
		"a lock that is no bit":   change(uid+5, 2),
		"a refusal with an entry": change(1, byte(refused)),
		"more than a response":    append(bytes.Clone(whole), 0),
	}
	for name, b := range tests {
		if got, err := decodeResponse(b); err == nil {
			t.Errorf("%s was decoded: %v", name, got)
		}
	}
	for n := range len(whole) {
		if got, err := decodeResponse(whole[:n]); err == nil && len(got.groups) > 0 || err == nil && n < uid+4+18 {
			t.Errorf("%d of %d bytes were decoded: %v", n, len(whole), got)
		}
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
	for _, v := range responses() {
		f.Add(v.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeResponse(b)
		if err == nil && !bytes.Equal(v.encode(), b) {
			t.Errorf("read %x, wrote %x", b, v.encode())
		}
	})
}
