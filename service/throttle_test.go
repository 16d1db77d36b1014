package service

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dockerauth/handler"
	"dockerauth/store"
	"dockerauth/throttle"
)

func TestALockOfClientsWithoutAnAddressSaysSo(t *testing.T) {
	for _, remote := range []string{"", "192.0.2.1"} {
		now := time.Now()
		limits := throttleAdapter{&throttle.Throttle{
			Store: store.NewMemory(maxRecords), Secret: []byte("secret"), Timeout: time.Second,
			Now: func() time.Time { return now }, Report: func(err error) { t.Error(err) },
		}}
		var attempts []handler.Attempt
		for _, guess := range []handler.Secret{"1", "2", "3", "4", "5"} {
			a, err := limits.Begin(t.Context(), "bob", guess, remote)
			if err != nil {
				t.Fatal(err)
			}
			attempts = append(attempts, a)
		}
		for _, a := range attempts[1:] {
			a.Fail()
		}
		_, err := limits.Begin(t.Context(), "bob", "another", remote)
		now = now.Add(time.Minute) // the first attempt counts as dead
		for when, err := range map[string]error{"before PAM": err, "after a wait": attempts[0].Recheck()} {
			var locked *handler.Throttled
			if !errors.As(err, &locked) {
				t.Fatalf("from %q, %s: %v, want a lock", remote, when, err)
			}
			if got := strings.Contains(locked.Cause, "no client address"); got != (remote == "") {
				t.Errorf("from %q, %s: %s", remote, when, locked.Cause)
			}
		}
	}
}
