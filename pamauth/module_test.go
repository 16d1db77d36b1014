//go:build linux && cgo

package pamauth

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestModulesAreLookedAtBeforePAMTripsOverThem(t *testing.T) {
	permit, err := FindModule("pam_permit.so")
	if err != nil {
		t.Fatal(err)
	}
	if byPath, err := FindModule(permit); err != nil || byPath != permit {
		t.Errorf("by its path: %q, %v", byPath, err)
	}
	dir := t.TempDir()
	text, cut := filepath.Join(dir, "pam_text.so"), filepath.Join(dir, "pam_cut.so")
	put(t, text, "no library")
	whole, err := os.ReadFile(permit)
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "pam_foreign.so")
	other := append([]byte(nil), whole...)
	other[18], other[19] = 22, 0 // e_machine (elf(5)): EM_S390
	put(t, foreign, string(other))
	put(t, cut, string(whole[:len(whole)/3]))
	half := compile(t, "pam_half", "int pam_sm_authenticate(void) { return 0; }\n")
	says(t, InspectModule(permit, "auth"))
	says(t, InspectModule(permit, "account"))
	says(t, InspectModule(half, "auth"))
	says(t, InspectModule(half, "account"), "pam_sm_acct_mgmt")
	says(t, InspectModule(text, "auth"), "no shared library")
	says(t, InspectModule(cut, "auth"), "")
	says(t, InspectModule(foreign, "auth"), "another machine")
	says(t, InspectModule(filepath.Join(dir, "pam_none.so"), "auth"), "no such file")

	_, err = FindModule("pam_no_such_module.so")
	says(t, err, "not in ", "/security")
	_, err = FindModule(filepath.Join(dir, "pam_none.so"))
	says(t, err, "no such file")
}

func TestAModuleIsLoadedAsPAMLoadsIt(t *testing.T) {
	permit, err := FindModule("pam_permit.so")
	if err != nil {
		t.Fatal(err)
	}
	says(t, LoadModule(permit))
	lacks := compile(t, "pam_lacks", "int nobody_has_this(void); int pam_sm_authenticate(void) { return nobody_has_this(); }\n")
	says(t, InspectModule(lacks, "auth"))
	says(t, LoadModule(lacks), "nobody_has_this")
}

func compile(t *testing.T, name, source string) (library string) {
	t.Helper()
	c := filepath.Join(t.TempDir(), name+".c")
	put(t, c, source)
	library = c[:len(c)-2] + ".so"
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", library, c).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return library
}
