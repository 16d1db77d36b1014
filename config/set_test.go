package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSetExchangesOneLine(t *testing.T) {
	const rest = "issuer: i\naudience: a\n"
	for _, c := range []struct{ name, text, key, value, want string }{
		{"a value", "private_key: k # signs\n" + rest, "private_key", `"new.pem"`,
			"private_key: \"new.pem\" # signs\n" + rest},
		{"a quoted value with a # in it", "private_key: 'a#b'\n" + rest, "private_key", `"n"`,
			"private_key: \"n\"\n" + rest},
		{"a space before the colon", "private_key : \"k\"   # x\n" + rest, "private_key", "n",
			"private_key: n # x\n" + rest},
		{"a value with a comment of its own", "previous_keys: [a] # old\nprivate_key: k\n" + rest, "previous_keys",
			"[b] # new", "previous_keys: [b] # new\nprivate_key: k\n" + rest},
		{"a new key, behind private_key", "# c\nprivate_key: k\n\n" + rest, "previous_keys", `["k"]`,
			"# c\nprivate_key: k\nprevious_keys: [\"k\"]\n\n" + rest},
		{"a list on several lines", "previous_keys:\n- a\n- b\n# c\nprivate_key: k\n" + rest, "previous_keys", "[c]",
			"previous_keys: [c]\n# c\nprivate_key: k\n" + rest},
		{"an indented list", rest + "previous_keys:\n  - a\n", "previous_keys", "[c]", rest + "previous_keys: [c]\n"},
		{"a key that is taken out", "previous_keys: [a]\n" + rest, "previous_keys", "", rest},
		{"a key that is not there, taken out", rest, "previous_keys", "", rest},
		{"no line end at the end", rest + "private_key: k", "private_key", "n", rest + "private_key: n\n"},
		{"a new key, behind a last line without an end", rest + "private_key: k", "previous_keys", "[n]",
			rest + "private_key: k\nprevious_keys: [n]\n"},
		{"a name in a comment", "# private_key: x\nprivate_key: k\n" + rest, "private_key", "n",
			"# private_key: x\nprivate_key: n\n" + rest},
		{"a key of that name in a section", "log:\n  private_key: x\nprivate_key: k\n" + rest, "private_key", "n",
			"log:\n  private_key: x\nprivate_key: n\n" + rest},

		{"everything in braces", "{private_key: k, issuer: i}\n", "private_key", "n", ""},
		{"a quoted key", "\"private_key\": k\n" + rest, "private_key", "n", ""},
		{"a list with a comment in it", "previous_keys:\n- a\n# c\n- b\nprivate_key: k\n" + rest, "previous_keys",
			"[c]", ""},
		{"a text on several lines", "private_key: |\n  a\n\n  b\n" + rest, "private_key", "n", ""},
		{"the end of the document", rest + "...\n", "private_key", "n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Set(c.text, c.key, c.value)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got\n%s%v\nwant\n%s", got, err, c.want)
			}
		})
	}
}

// What Set changes, and nothing else, is read back.
func FuzzSet(f *testing.F) {
	for _, text := range []string{head, "previous_keys: [a] # b\n" + head, "previous_keys:\n- a\n-  b\n" + head,
		"{a: b}"} {
		f.Add(text, "previous_keys", `["c.pem"] # d`)
		f.Add(text, "private_key", "c.pem")
		f.Add(text, "previous_keys", "")
	}
	if text, err := Set(head, "private_key", "c.pem"); err != nil || text == head {
		f.Fatal("no seed is changed: the property would hold of nothing")
	}
	f.Fuzz(func(t *testing.T, text, key, value string) {
		before, errs := parse("f", "/d", []byte(text))
		if key != "private_key" && key != "previous_keys" || len(text) > maxFile || len(errs) > 0 {
			t.Skip()
		}
		edited, err := Set(text, key, value)
		if err != nil {
			return
		}
		if after, errs := parse("f", "/d", []byte(edited)); len(errs) == 0 {
			for _, s := range []*settings{&before, &after} {
				s.lines, s.previous, s.config.PrivateKeyFile, s.config.PreviousKeyFiles = nil, nil, "", nil
			}
			if !reflect.DeepEqual(before, after) {
				t.Fatalf("%q\nbecomes %q", text, edited)
			}
		}
		again, err := Set(edited, key, value)
		if err != nil || again != edited {
			t.Fatalf("%q\nbecomes %q\nand then %q, %v", text, edited, again, err)
		}
	})
}

func TestThePreviousKeysEndAfterTheirLastRefreshToken(t *testing.T) {
	since := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name, line string
		want       time.Time
	}{
		{"since when they do not sign", "previous_keys: [old.pem] " + KeysComment(false, since),
			since.Add(48 * time.Hour)},
		{"the first key signs next", "previous_keys: [old.pem] " + KeysComment(true, since),
			since.Add(48 * time.Hour)},
		{"the only key signs next", "previous_keys: [old.pem] " + KeysComment(true, time.Time{}), time.Time{}},
		{"another comment", "previous_keys: [old.pem] # since 2030-01-02T03:04:05Z", time.Time{}},
		{"a date that is none", "previous_keys: [old.pem] # no longer sign since yesterday", time.Time{}},
		{"no keys", "previous_keys: [] " + KeysComment(false, since), time.Time{}},
		{"no line", "", time.Time{}},
	} {
		dir, path := folder(t, phpConfig+"refresh_token_ttl: 2d\n"+c.line+"\n")
		old, _ := newKey(t)
		put(t, filepath.Join(dir, "old.pem"), old, 0o600)
		cfg, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if next := cfg.NextKeyFile() != ""; next != strings.Contains(c.name, "signs next") {
			t.Errorf("%s: %q is to sign next", c.name, cfg.NextKeyFile())
		}
		if got := cfg.PreviousEnd(); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
