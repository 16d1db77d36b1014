package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// hostileTexts are what a client may send to change what an administrator sees of the log.
var hostileTexts = map[string]string{
	"a line in text":           "x\ntime=now level=INFO msg=\"token request\" outcome=granted",
	"a line in JSON":           "x\n{\"level\":\"INFO\",\"msg\":\"token request\",\"outcome\":\"granted\"}\n",
	"the end of a text value":  `x" outcome=granted user="root`,
	"the end of a JSON value":  `x","outcome":"granted","user":"root`,
	"the same, escaped":        `x\" outcome=granted user=\"root`,
	"a field without a quote":  "outcome=granted",
	"a carriage return":        "x\rlevel=INFO",
	"a colour":                 "\x1b[31mx",
	"DEL alone":                "x\x7f",
	"DEL, typed and sent":      `\x7f` + "\x7f",
	"DEL beside a quote":       "x\x7f\" outcome=granted",
	"a C1 control":             "\u009b31m",
	"NEL":                      "x\u0085level=INFO",
	"a bare C1 byte":           "x\x9b31m",
	"a bidi override":          "\u202egnp.exe",
	"bidi isolates":            "\u2066x\u2069",
	"zero width":               "ro\u200bot\u2060\ufeff",
	"a line separator":         "x\u2028level=INFO",
	"a paragraph separator":    "x\u2029level=INFO",
	"a soft hyphen":            "ro\u00adot",
	"tags":                     "root\U000e0001\U000e0041",
	"a space that is no space": "root\u00a0x",
	"invalid UTF-8":            "\xff\xfe\xc3(",
	"a surrogate":              "x\xed\xa0\x80",
	"NUL":                      "x\x00y",
	"typed escapes":            `\u009b\x9b\n\\`,
	"letters beyond ASCII":     "ünïcödé 名前 🦊",
}

// fieldsOf reads one line. It fails the test for what a terminal may act on, a field that is there
// twice, and all that is not of the format.
func fieldsOf(t *testing.T, format, line string) map[string]string {
	t.Helper()
	body, ended := strings.CutSuffix(line, "\n")
	if !ended || !utf8.ValidString(body) || strings.ContainsFunc(body, notPrintable) {
		t.Errorf("no line of printable text: %q", line)
	}
	read := readText
	if format == "json" {
		read = readJSON
	}
	fields := map[string]string{}
	for _, field := range read(t, body) {
		if _, twice := fields[field[0]]; twice {
			t.Errorf("%q is there twice: %s", field[0], line)
		}
		fields[field[0]] = field[1]
	}
	return fields
}

func readJSON(t *testing.T, line string) (fields [][2]string) {
	t.Helper()
	if !json.Valid([]byte(line)) {
		t.Fatalf("no JSON: %s", line)
	}
	decoder := json.NewDecoder(strings.NewReader(line))
	_, _ = decoder.Token() // the brace
	for decoder.More() {
		key, _ := decoder.Token()
		value, _ := decoder.Token()
		fields = append(fields, [2]string{fmt.Sprint(key), fmt.Sprint(value)})
	}
	return fields
}

func readText(t *testing.T, line string) (fields [][2]string) {
	t.Helper()
	for line != "" {
		key, rest, found := strings.Cut(line, "=")
		value, after, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			value, _ = strconv.Unquote(quoted)
			if after, found = strings.CutPrefix(rest[len(quoted):], " "); !found && after != "" {
				t.Fatalf("more than a value: %s", line)
			}
		} else if !found || strings.ContainsAny(value, `="`) {
			t.Fatalf("no field: %s", line)
		}
		fields, line = append(fields, [2]string{key, value}), after
	}
	return fields
}

// Anything a client sends leaves one line, which a terminal shows as it is and in which each field
// reads as it was sent.
func TestAUserNameCannotForgeALogLine(t *testing.T) {
	requests := []struct{ outcome, field, form string }{ // the form ends with what the field holds
		{"refused", "user", "grant_type=password&password=wrong&username="},
		{"refused", "", "grant_type=refresh_token&refresh_token="},
		{"invalid", "service", "grant_type=password&password=wrong&username=alice&service="},
		{"refused", "malformed", "grant_type=refresh_token&refresh_token=x&scope="},
		{"invalid", "", "grant_type="},
		{"invalid", "remote", "service=unknown&username="},
	}
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := newAdminFixture(t)
			s.write(t, "config.yml", fixtureConfig+"log: {format: "+format+"}\n")
			s.mustReload(t)
			want := map[string]map[string]string{} // fields by client_id, which is another in every line
			var wg sync.WaitGroup
			for _, text := range hostileTexts {
				for _, request := range requests {
					value := "refused" + text
					client := fmt.Sprint(len(want), text)
					want[shown(client)] = map[string]string{
						"outcome": request.outcome, "account": shown(text), request.field: shown(value),
					}
					form := request.form + url.QueryEscape(value) +
						"&account=" + url.QueryEscape(text) + "&client_id=" + url.QueryEscape(client)
					r := httptest.NewRequest(http.MethodPost, "/docker/v2/token", strings.NewReader(form))
					r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", len(want)) // an address each: nobody is locked
					if request.field == "remote" {
						r.RemoteAddr = value
					}
					wg.Go(func() { s.ServeHTTP(httptest.NewRecorder(), r) })
				}
			}
			wg.Wait()
			for line := range strings.Lines(s.log.String()) {
				got := fieldsOf(t, format, line)
				wanted := want[got["client"]]
				if wanted == nil {
					t.Errorf("nobody asked for this line, or it is there twice: %s", line)
				}
				for key, value := range wanted {
					if key != "" && got[key] != value {
						t.Errorf("%s is %q, want %q: %s", key, got[key], value, line)
					}
				}
				delete(want, got["client"])
			}
			for client := range want {
				t.Errorf("no line of %q", client)
			}
		})
	}
}

// Lines that are no request's go through the logger of the configuration, or through the one that
// there is without.
func TestEveryLoggerEscapesWhatIsNotPrintable(t *testing.T) {
	for format, config := range map[string]string{
		"text": "log: {format: text}\n", "json": "log: {format: json}\n", "none": "",
	} {
		s := newAdminFixture(t)
		if config != "" {
			s.write(t, "config.yml", fixtureConfig+config)
			s.mustReload(t)
		}
		for what, text := range hostileTexts {
			s.log.Reset()
			text = strings.ToValidUTF8(text, "") // what is none, each format shows in a way of its own
			slog.New(reloadHandler{reloader: s.reloader}).Warn(text, "reason", text, "other", "beside it")
			got := fieldsOf(t, format, s.log.String())
			if got["msg"] != text || got["reason"] != text || got["other"] != "beside it" || len(got) != 5 {
				t.Errorf("%s, %s: %q", format, what, got)
			}
		}
	}
}

// shown is a text as the log has it: JSON cannot hold what is not UTF-8.
func shown(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func TestWhatModulesPrintIsEscaped(t *testing.T) {
	var out bytes.Buffer
	const printed = "pam_x: \x1b[31mred\x7f\u009b\u202e\tünïcödé\nsecond\r\n\xff"
	n, err := plainWriter{&out}.Write([]byte(printed))
	const want = "pam_x: \\x1b[31mred\\x7f\\u009b\\u202e\tünïcödé\nsecond\\r\n\uFFFD"
	if out.String() != want || n != len(printed) || err != nil {
		t.Errorf("%q, %d, %v; want %q", out.String(), n, err, want)
	}
}
