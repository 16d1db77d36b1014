package doctor

import (
	"fmt"
	"net/http"
	"time"
)

// How far two clocks may be apart. Tokens are dated back by the first, and zot allows no more. The
// other is distribution's leeway.
const (
	skewNoticed = 30 * time.Second
	skewHarmful = 60 * time.Second
)

// skew is how far the clock of a Date header's sender is ahead, in whole seconds. known is false
// without such a header.
func skew(date string, now time.Time) (ahead time.Duration, known bool) {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return 0, false
	}
	return theirs.Sub(now.Truncate(time.Second)), true
}

// compareClocks compares a Date header with this machine's clock.
func (c *checkup) compareClocks(subject, date string) {
	ahead, known := skew(date, c.now())
	if !known {
		return
	}
	words := fmt.Sprintf("its clock is %s ahead of this machine's", ahead)
	if ahead < 0 {
		words = fmt.Sprintf("its clock is %s behind this machine's", -ahead)
	}
	const remedy = "let both keep time by NTP (timedatectl set-ntp true)"
	switch {
	case ahead.Abs() > skewHarmful:
		c.fail(subject, "clock-off", words,
			"a registry refuses tokens that are not good yet or no longer by more than 60 seconds, zot by any", remedy)
	case ahead.Abs() > skewNoticed:
		c.warn(
			subject,
			"clock-drifts",
			words,
			"beyond 60 seconds registries refuse tokens, zot does so already",
			remedy,
		)
	default:
		c.ok(subject, "its clock and this machine's are within %s", skewNoticed)
	}
}
