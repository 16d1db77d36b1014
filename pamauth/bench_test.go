//go:build linux && cgo

package pamauth

import (
	"testing"
	"time"
)

func BenchmarkConversation(b *testing.B) {
	c := child(newServiceDir(b).stack("test", permitAuth, permitAccount), nil)
	for b.Loop() {
		if _, err := c.Authenticate(b.Context(), rightLogin); err != nil {
			b.Fatal(err)
		}
	}
}

// The wrappers must cost nothing, compared with a conversation.
func BenchmarkWrappers(b *testing.B) {
	known := &fakePAM{}
	for name, c := range map[string]Authenticator{
		"cache hit": Cache(time.Hour, known, nil),
		"coalesce":  Coalesce(known, nil),
		"limit":     Limit(NewSlots(1), known, nil),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := c.Authenticate(b.Context(), alice); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
