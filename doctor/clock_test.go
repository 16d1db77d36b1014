package doctor

import (
	"net/http"
	"testing"
	"time"
)

func TestClocksAreHeldAgainstEachOther(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 900_000_000, time.UTC)
	for _, test := range []struct {
		name       string
		date       string
		complaints string
	}{
		{"the same second", now.Format(http.TimeFormat), ""},
		{"half a minute", now.Add(30 * time.Second).Format(http.TimeFormat), ""},
		{"a little more", now.Add(31 * time.Second).Format(http.TimeFormat), "warning clock clock-drifts"},
		{"a minute late", now.Add(-60 * time.Second).Format(http.TimeFormat), "warning clock clock-drifts"},
		{"more than a registry forgives", now.Add(-61 * time.Second).Format(http.TimeFormat), "error clock clock-off"},
		{"a year early", now.AddDate(1, 0, 0).Format(http.TimeFormat), "error clock clock-off"},
		{"no date", "", ""},
		{"no date that is one", "yesterday", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &checkup{now: func() time.Time { return now }}
			c.compareClocks("clock", test.date)
			c.expectCodes(t, test.complaints, "")
		})
	}
}
