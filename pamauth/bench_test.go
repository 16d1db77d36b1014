//go:build linux && cgo

package pamauth

import "testing"

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
