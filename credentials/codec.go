package credentials

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dockerauth/store"
)

// version is that of every record. A change that an older program would not heed needs another.
const version = 1

// envelope is how every record is kept: {"v":1,"r":{…}}.
type envelope[T any] struct {
	Version int `json:"v"`
	Record  T   `json:"r"`
}

func encode[T any](record T) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)                     // which would make a note six times as long
	_ = e.Encode(envelope[T]{version, record}) // no record has what JSON has not
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// decode refuses what encode has not made: a field that this program does not know may forbid what
// the others allow.
func decode[T any](value []byte) (record T, err error) {
	e, err := strictly[envelope[json.RawMessage]](value)
	switch {
	case err != nil:
		return record, fmt.Errorf("damaged record: %w", err)
	case e.Version != version:
		return record, fmt.Errorf("record of version %d, which another version of dockerauth wrote", e.Version)
	}
	if record, err = strictly[T](e.Record); err != nil {
		return record, fmt.Errorf("damaged record: %w", err)
	}
	return record, nil
}

func strictly[T any](text []byte) (value T, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&value); err != nil {
		return value, errors.New("it is not the JSON of this version") // whose error may show a value
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return value, errors.New("something follows it")
	}
	return value, nil
}

// tokenRecord is a Token in the store. Times are seconds since 1970.
type tokenRecord struct {
	SHA256   []byte            `json:"sha256"` // of the text
	Kind     Kind              `json:"kind"`
	User     string            `json:"user"`
	Robot    string            `json:"robot,omitempty"`
	Scopes   []string          `json:"scopes"`
	From     []netip.Prefix    `json:"from,omitempty"`
	Note     string            `json:"note,omitempty"`
	Keep     bool              `json:"keep,omitempty"`
	State    State             `json:"state"`
	Created  int64             `json:"created"`
	Expires  int64             `json:"expires"`
	Replaced string            `json:"replaced,omitempty"`
	Revoked  *revocationRecord `json:"revoked,omitempty"`
}

// revocationRecord is also the record of a revoked refresh token.
type revocationRecord struct {
	At     int64  `json:"at"`
	Reason string `json:"reason,omitempty"`
}

// beforeRecord takes back the refresh tokens of an account that were issued before a time.
type beforeRecord struct {
	Before int64 `json:"before"`
	revocationRecord
}

// idRecord identifies what the store knows.
type idRecord struct {
	ID string `json:"id"`
}

// useRecord is the last day on which a kept token was used.
type useRecord struct {
	Day  int64  `json:"day"` // its begin in UTC
	From string `json:"from"`
}

type loginRecord struct {
	User    string `json:"user"`
	Client  string `json:"client,omitempty"`
	Remote  string `json:"remote,omitempty"`
	First   int64  `json:"first"`
	Last    int64  `json:"last"`
	Expires int64  `json:"expires"`
}

func (t Token) encode(hash []byte) []byte {
	r := tokenRecord{SHA256: hash, Kind: t.Kind, User: t.User, Robot: t.Robot, Scopes: t.Scopes, From: t.From,
		Note: t.Note, Keep: t.Keep, State: t.State, Created: t.Created.Unix(), Expires: t.Expires.Unix(),
		Replaced: t.Replaced}
	if t.Revoked != nil {
		r.Revoked = &revocationRecord{t.Revoked.At.Unix(), t.Revoked.Reason}
	}
	return encode(r)
}

func decodeToken(id string, value []byte) (t Token, hash []byte, err error) {
	r, err := decode[tokenRecord](value)
	if err != nil {
		return Token{}, nil, err
	}
	t = Token{ID: id, Kind: r.Kind, User: r.User, Robot: r.Robot, Scopes: r.Scopes, From: r.From, Note: r.Note,
		Keep: r.Keep, State: r.State, Created: time.Unix(r.Created, 0), Expires: time.Unix(r.Expires, 0),
		Replaced: r.Replaced}
	if r.Revoked != nil {
		t.Revoked = &Revocation{time.Unix(r.Revoked.At, 0), r.Revoked.Reason}
	}
	if err = t.check(); err == nil && len(r.SHA256) != sha256.Size {
		err = errors.New("it has no hash")
	}
	if err != nil {
		return Token{}, nil, fmt.Errorf("damaged record: %w", err)
	}
	return t, r.SHA256, nil
}

// The bounds of one token. Its record has space left for what Revoke and Rotate add.
const (
	maxUser   = 256 // bytes, as for a login
	MaxRobot  = 64
	maxText   = 256 // bytes of a note, a reason or a digest
	maxScopes = 64
	maxScope  = 512 // bytes, as in a request
	maxFrom   = 64
	maxRecord = store.MaxValue - 1024
)

// check returns what is wrong with a token. Whether its scopes can be read is for its user to see.
func (t *Token) check() error {
	if err := checkUser(t.User); err != nil {
		return err
	}
	switch {
	case t.Kind != Personal && t.Kind != Robot || (t.Kind == Robot) != (t.Robot != ""):
		return fmt.Errorf("kind %q with robot %q: a robot's token has its name, a personal one none", t.Kind,
			shortened(t.Robot))
	case t.Robot != "" && !IsRobot(t.Robot):
		return fmt.Errorf("robot %q: its name has up to %d of a-z, 0-9, '.', '_' and '-', and begins with a-z or 0-9",
			shortened(t.Robot), MaxRobot)
	case t.Replaced != "" && !IsTokenID(t.Replaced):
		return errors.New("what replaces it is no ID") // a terminal shows it
	case len(t.Scopes) == 0:
		return errors.New("no scope: the token would be good for nothing")
	case len(t.Scopes) > maxScopes:
		return fmt.Errorf("%d scopes, and %d is the most", len(t.Scopes), maxScopes)
	case len(t.From) > maxFrom:
		return fmt.Errorf("%d addresses, and %d is the most", len(t.From), maxFrom)
	case t.State.Shadow == "" || len(t.State.Shadow) > maxText:
		return errors.New("nothing is known of the account")
	}
	for _, s := range t.Scopes {
		if s == "" || len(s) > maxScope || !isLine(s) {
			return fmt.Errorf("scope %q is empty, longer than %d bytes or no line of text", shortened(s), maxScope)
		}
	}
	for _, p := range t.From {
		if !p.IsValid() || p != p.Masked() {
			return fmt.Errorf("address %q is not a prefix", p)
		}
	}
	if created, expires := t.Created.Unix(), t.Expires.Unix(); created < 0 || expires < created || expires > year9999 {
		return errors.New("it ends before it begins")
	}
	return checkText("note", t.Note)
}

const year9999 = 253402300799 // the last second that RFC 3339 can write

func checkUser(user string) error {
	if user == "" || len(user) > maxUser || !isLine(user) {
		return fmt.Errorf("user %q: empty, longer than %d bytes or with control characters", shortened(user), maxUser)
	}
	return nil
}

// checkText is for notes and reasons.
func checkText(what, text string) error {
	if len(text) > maxText || !isLine(text) {
		return fmt.Errorf("%s: longer than %d bytes or with control characters", what, maxText)
	}
	return nil
}

func isLine(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(c rune) bool {
		return unicode.IsControl(c) || c == '\u2028' || c == '\u2029'
	})
}

// IsRobot reports whether a text can be the name of a robot. It is narrow: the name stands in
// command lines and in the configuration of clients.
func IsRobot(name string) bool {
	return name != "" && len(name) <= MaxRobot && strings.Trim(name[:1], "._-") != "" &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// shortened keeps an error short.
func shortened(text string) string {
	if len(text) > 64 {
		return text[:64] + "…"
	}
	return text
}
