package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// arrows lists the packages of this module and which others each may import (docs/design.md).
var arrows = map[string][]string{
	"dockerauth": {"command", "harden"},
	"command":    {"service", "doctor", "setup", "cli", "credentials"},
	"service": {
		"cli", "gateway", "handler", "pamauth", "throttle", "store", "config", "metrics", "harden",
		"access", "credentials", "jwtsign", // whose types it translates
	},
	"doctor":      {"cli", "service", "config", "pamauth", "jwtsign", "access"},
	"setup":       {"cli", "config", "jwtsign", "packaging"},
	"handler":     {"access"},
	"throttle":    {"store"},
	"credentials": {"store"},
	"config":      {"access", "jwtsign"},
	"access":      nil,
	"cli":         nil,
	"gateway":     nil,
	"harden":      nil,
	"jwtsign":     nil,
	"metrics":     nil,
	"packaging":   nil,
	"pamauth":     nil,
	"store":       nil,
}

// testArrows are additional imports for tests, which combine real parts.
var testArrows = map[string][]string{
	"doctor": {"handler"},
	"setup":  {"pamauth"},
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(".dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for packages := json.NewDecoder(strings.NewReader(string(out))); packages.More(); seen++ {
		var p struct {
			ImportPath                         string
			Imports, TestImports, XTestImports []string
		}
		if err := packages.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, "dockerauth/")
		may, known := arrows[name]
		if !known {
			t.Errorf("package %s is not in the layout", name)
		}
		if name != "dockerauth" && !strings.Contains(string(image), "\n!"+name+"\n") {
			t.Errorf(".dockerignore keeps package %s out of the container's build", name)
		}
		check := func(imports, may []string, where string) {
			for _, path := range imports {
				if other, internal := strings.CutPrefix(path, "dockerauth/"); internal && other != name &&
					!slices.Contains(may, other) {
					t.Errorf("%s%s imports %s", where, name, other)
				}
			}
		}
		check(p.Imports, may, "")
		check(append(p.TestImports, p.XTestImports...), slices.Concat(may, testArrows[name]), "a test of ")
	}
	if seen != len(arrows) {
		t.Errorf("%d packages exist, the layout has %d", seen, len(arrows))
	}
}
