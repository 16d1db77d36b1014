package main

import (
	"cmp"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mostBytes is what a package may allocate when it is initialised: what it does today, and a little
// more. "" = every other one of this project or of a dependency.
var mostBytes = map[string]int{
	"":                               1 << 10,
	"dockerauth/doctor":              3 << 10,
	"dockerauth/pamauth":             4 << 10,
	"github.com/goccy/go-yaml/token": 4 << 10,
	"github.com/golang-jwt/jwt/v5":   3 << 9,
	"github.com/redis/go-redis/v9":   12 << 10,
	"golang.org/x/sys/cpu":           5 << 10,
	"github.com/redis/go-redis/v9/maintnotifications": 3 << 9,
}

// The most of all packages together, those of Go included.
const (
	mostPackages   = 114
	mostTotalBytes = 100 << 10
	mostAllocs     = 680
)

// The CGI program starts for each request, so nothing heavy happens when packages are initialised.
// What they allocate is the same at each start, unlike the time.
func TestPackagesAllocateLittleAtStart(t *testing.T) {
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--version")
	cmd.Env = []string{"GODEBUG=inittrace=1"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	type initialized struct {
		name          string
		bytes, allocs int
	}
	var all []initialized
	bytes, allocs := 0, 0
	for _, m := range regexp.MustCompile(`(?m)^init (\S+) .* (\d+) bytes, (\d+) allocs$`).FindAllSubmatch(out, -1) {
		p := initialized{name: string(m[1])}
		p.bytes, _ = strconv.Atoi(string(m[2]))
		p.allocs, _ = strconv.Atoi(string(m[3]))
		all = append(all, p)
		bytes += p.bytes
		allocs += p.allocs
		most, known := mostBytes[p.name]
		if !known {
			most = mostBytes[""]
		}
		first, _, _ := strings.Cut(p.name, "/")
		isGos := first != "dockerauth" && !strings.Contains(first, ".")
		if !isGos && p.bytes > most {
			t.Errorf("%s allocates %d bytes at start, the most is %d", p.name, p.bytes, most)
		}
	}
	for what, count := range map[string][2]int{"packages are initialized": {len(all), mostPackages},
		"bytes are allocated": {bytes, mostTotalBytes}, "allocations are made": {allocs, mostAllocs}} {
		if count[0] > count[1] {
			slices.SortFunc(all, func(a, b initialized) int { return cmp.Compare(b.bytes, a.bytes) })
			var list strings.Builder
			for _, p := range all {
				fmt.Fprintf(&list, "\n%7d bytes, %3d allocations  %s", p.bytes, p.allocs, p.name)
			}
			t.Errorf("%d %s at start, the most is %d%s", count[0], what, count[1], list.String())
		}
	}
	if len(all) < mostPackages/2 {
		t.Fatalf("%d packages were seen: %s", len(all), out)
	}
}
