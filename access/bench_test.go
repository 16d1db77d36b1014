package access

import (
	"fmt"
	"testing"
)

// authorization is what a request costs here, by the number of its scopes.
func authorization(t testing.TB, scopes int) func() {
	p := mustPolicy(t, []Rule{
		{Allow: []string{"pull"}, Repositories: []string{"public/**"}, To: []string{anyone}},
		{Allow: []string{"pull", "push"}, Repositories: []string{"{user}/**"}, To: []string{users}},
	})
	p.Index()
	texts := make([]string, scopes)
	for n := range texts {
		texts[n] = fmt.Sprintf("repository:alice/app%d:pull,push", n)
	}
	alice := Client{Name: "alice", Service: "registry.example.com"}
	return func() {
		requested, _, err := ParseScopes(texts)
		if err != nil {
			t.Fatal(err)
		}
		if granted := p.Grant(alice, requested); len(granted) != scopes {
			t.Fatalf("granted %d of %d", len(granted), scopes)
		}
	}
}

func BenchmarkAuthorize(b *testing.B) {
	for _, scopes := range []int{1, 64} {
		b.Run(fmt.Sprint(scopes, " scopes"), func(b *testing.B) {
			b.ReportAllocs()
			run := authorization(b, scopes)
			for b.Loop() {
				run()
			}
		})
	}
}

func TestAScopeTakesFewAllocations(t *testing.T) {
	for scopes, most := range map[int]float64{1: 14, 64: 550} {
		if got := testing.AllocsPerRun(100, authorization(t, scopes)); got > most {
			t.Errorf("%d scopes: %v allocations, the most is %v", scopes, got, most)
		}
	}
}
