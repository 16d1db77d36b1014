package config

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
		err  string
	}{
		{"15m", 15 * time.Minute, ""},
		{"90d", 90 * 24 * time.Hour, ""},
		{"1h30m", 90 * time.Minute, ""},
		{"2w", 14 * 24 * time.Hour, ""},
		{"1w1d1h1m1s", 8*24*time.Hour + time.Hour + time.Minute + time.Second, ""},
		{"007s", 7 * time.Second, ""},
		{"0s", 0, ""},
		{"", 0, ""}, // refused as a text before
		{"15", 0, "has no unit"},
		{"1m30", 0, "has no unit"},
		{"m", 0, "a number is missing"},
		{"-1m", 0, "a number is missing"},
		{"+1m", 0, "a number is missing"},
		{"1mm", 0, "a number is missing"},
		{"1.5h", 0, `unexpected unit "."`},
		{"15 m", 0, `unexpected unit " "`},
		{"1M", 0, `unexpected unit "M"`},
		{"1y", 0, `unexpected unit "y"`},
		{"500ms", 0, "a number is missing"},
		{"1m1h", 0, `unexpected unit "h"`},
		{"1m1m", 0, `unexpected unit "m"`},
		{"15250w", 15250 * week, ""},
		{"15251w", 0, "too long"},
		{"15250w3d", 0, "too long"},
		{"9223372036854775808s", 0, "too long"},
	} {
		got, err := ParseDuration(c.text)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%q: got %v, %v, want %v, %s", c.text, got, err, c.want, c.err)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Minute: "1h30m", day: "1d", 90 * day: "90d", 25*time.Hour +
			5*time.Second: "1d1h5s",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
		if back, err := ParseDuration(want); back != d || err != nil {
			t.Errorf("%s is read back as %v, %v", want, back, err)
		}
	}
}
