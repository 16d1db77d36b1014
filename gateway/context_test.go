package gateway

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A requestContext and what context.WithTimeout makes tell the same, whenever they are asked.
func TestARequestContextIsOneWithATimeout(t *testing.T) {
	type key struct{}
	describe := func(ctx context.Context) string {
		deadline, _ := ctx.Deadline()
		return fmt.Sprint(context.Cause(ctx), ctx.Err(), deadline, ctx.Value(key{}))
	}
	ends := []struct {
		name string
		end  func(cancelParent, end func())
	}{
		{"not at all", func(_, _ func()) {}},
		{"with its request", func(_, end func()) { end() }},
		{"with its parent", func(cancelParent, _ func()) { cancelParent() }},
		{"at its deadline", func(_, _ func()) { time.Sleep(requestTimeout) }},
		{"at its deadline, and then with its request", func(_, end func()) { time.Sleep(requestTimeout + 1); end() }},
		{"with its request, and then with its parent", func(cancelParent, end func()) { end(); cancelParent() }},
	}
	for _, asked := range []bool{true, false} {
		for _, tc := range ends {
			t.Run(tc.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, cancelParent := context.WithCancel(context.WithValue(t.Context(), key{}, 4711))
					lazy := newRequestContext(parent)
					usual, endUsual := context.WithTimeout(parent, requestTimeout)
					var derived context.Context
					if asked {
						var cancel func()
						derived, cancel = context.WithCancel(lazy)
						defer cancel()
					}
					check := func() {
						t.Helper()
						if got, want := describe(lazy), describe(usual); got != want {
							t.Errorf("%s, want %s", got, want)
						}
						if derived != nil && describe(derived) != describe(usual) {
							t.Errorf("derived from it: %s, want %s", describe(derived), describe(usual))
						}
					}
					check()
					tc.end(cancelParent, func() { lazy.end(); endUsual() })
					synctest.Wait()
					check()
					select {
					case <-lazy.Done():
						if usual.Err() == nil {
							t.Error("it is done")
						}
					default:
						if usual.Err() != nil {
							t.Error("it is not done")
						}
					}
					check()
					lazy.end()
					endUsual()
					cancelParent()
				})
			})
		}
	}
}
