//go:build linux && cgo

package pamauth

import (
	"testing"
	"time"
)

// What a child of its own costs beside the conversation itself.
func BenchmarkConversation(b *testing.B) {
	stage := newStage(b)
	for way, c := range ways(stage.stack("test", permitAuth, permitAccount)) {
		b.Run(way, func(b *testing.B) {
			for b.Loop() {
				if _, err := c.Hold(b.Context(), Login{User: "alice", Password: password}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What stands before a conversation must cost nothing beside it.
func BenchmarkBeforeTheConversation(b *testing.B) {
	known := &book{}
	for name, c := range map[string]Conversation{
		"known answer": Cache(time.Hour, known, nil),
		"share":        Share(known, nil),
		"gate":         Gate(1, known, nil),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := c.Hold(b.Context(), alice); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
