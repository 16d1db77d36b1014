package cli

import (
	"io"
	"strings"
	"testing"
)

const testPassword = "wonderland-password"

func TestThePasswordIsTheFirstLine(t *testing.T) {
	for _, test := range []struct{ name, in, want, rest string }{
		{"one line", "secret\n", "secret", ""},
		{"without an end", "secret", "secret", ""},
		{"with a carriage return", "secret\r\n", "secret", ""},
		{"with spaces that are part of it", " se cret \n", " se cret ", ""},
		{"the rest stays", "secret\nmore\n", "secret", "more\n"},
		{"as long as can be", strings.Repeat("x", maxPassword) + "\n", strings.Repeat("x", maxPassword), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := strings.NewReader(test.in)
			got, err := readLine(in)
			if err != nil || got != test.want {
				t.Errorf("got %q, %v", got, err)
			}
			if rest, _ := io.ReadAll(in); string(rest) != test.rest {
				t.Errorf("%q is left", rest)
			}
		})
	}
	for name, text := range map[string]string{"nothing": "", "an empty line": "\nsecret\n",
		"a line without end": strings.Repeat("x", maxPassword+1)} {
		if got, err := readLine(strings.NewReader(text)); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}
