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

// units, the largest first. time.ParseDuration has no days, and reads fractions of seconds, which
// tokens cannot express.
var units = [...]struct {
	letter byte
	length time.Duration
}{{'w', week}, {'d', day}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// ParseDuration parses whole numbers with units, the larger first, each at most once: 15m, 90d,
// 1h30m.
func ParseDuration(s string) (time.Duration, error) {
	var total time.Duration
	next := 0 // index of the next unit allowed
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
			return 0, fmt.Errorf("unexpected unit %q", rest[digits:digits+1])
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

// FormatDuration writes whole seconds in the form of ParseDuration. The largest unit is the day:
// 90d is clearer than 12w6d.
func FormatDuration(d time.Duration) string {
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
