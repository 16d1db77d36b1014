package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// units from the largest. time.ParseDuration stops at hours, and reads parts of seconds, which
// tokens do not have.
var units = [...]struct {
	letter byte
	length time.Duration
}{{'w', week}, {'d', day}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// parseDuration reads whole numbers with units, the larger first, each at most once: 15m, 90d,
// 1h30m.
func parseDuration(s string) (time.Duration, error) {
	var total time.Duration
	next := 0 // units before this one have been there
	for rest := s; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 {
			return 0, errors.New("a number is missing")
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, errors.New("too long")
		}
		if digits == len(rest) {
			return 0, errors.New("has no unit")
		}
		u := next
		for u < len(units) && units[u].letter != rest[digits] {
			u++
		}
		if u == len(units) {
			return 0, fmt.Errorf("%q is no unit that can stand here", rest[digits:digits+1])
		}
		length := units[u].length
		if n > int64((math.MaxInt64-total)/length) {
			return 0, errors.New("too long")
		}
		total += time.Duration(n) * length
		rest, next = rest[digits+1:], u+1
	}
	return total, nil
}

// formatDuration writes whole seconds as parseDuration reads them. Days are the largest: 90d says
// more than 12w6d.
func formatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	for _, u := range units[1:] {
		if n := d / u.length; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteByte(u.letter)
			d -= n * u.length
		}
	}
	return b.String()
}
