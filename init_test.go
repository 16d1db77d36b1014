package main

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// The CGI program starts for each request, so nothing heavy happens when packages are initialised.
// What they allocate is the same at each start, unlike the time.
func TestPackagesAllocateLittleAtStart(t *testing.T) {
	const most = 12 << 10 // bytes; one regular expression may take 180 KB
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	packages := regexp.MustCompile(`(?m)^init (dockerauth/\w+) .* (\d+) bytes, \d+ allocs$`).FindAllSubmatch(out, -1)
	if len(packages) < 5 {
		t.Fatalf("%d packages were seen: %s", len(packages), out)
	}
	for _, p := range packages {
		if bytes, _ := strconv.Atoi(string(p[2])); bytes > most {
			t.Errorf("%s allocates %d bytes at start, the most is %d", p[1], bytes, most)
		}
	}
}
