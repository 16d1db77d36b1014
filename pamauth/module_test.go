//go:build linux && cgo

package pamauth

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestInspectModuleFindsWhatPAMCannotLoad(t *testing.T) {
	permit, err := FindModule("pam_permit.so")
	if err != nil {
		t.Fatal(err)
	}
	if byPath, err := FindModule(permit); err != nil || byPath != permit {
		t.Errorf("by its path: %q, %v", byPath, err)
	}
	dir := t.TempDir()
	text, cut := filepath.Join(dir, "pam_text.so"), filepath.Join(dir, "pam_cut.so")
	writeFile(t, text, "no library")
	whole, err := os.ReadFile(permit)
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "pam_foreign.so")
	other := append([]byte(nil), whole...)
	other[18], other[19] = 22, 0 // e_machine (elf(5)): EM_S390
	writeFile(t, foreign, string(other))
	writeFile(t, cut, string(whole[:len(whole)/3]))
	half := compile(t, "pam_half", "int pam_sm_authenticate(void) { return 0; }\n")
	checkError(t, InspectModule(permit, "auth"))
	checkError(t, InspectModule(permit, "account"))
	checkError(t, InspectModule(half, "auth"))
	checkError(t, InspectModule(half, "account"), "pam_sm_acct_mgmt")
	checkError(t, InspectModule(text, "auth"), "not a shared library")
	checkError(t, InspectModule(cut, "auth"), "")
	checkError(t, InspectModule(foreign, "auth"), "another architecture")
	checkError(t, InspectModule(filepath.Join(dir, "pam_none.so"), "auth"), "no such file")

	_, err = FindModule("pam_no_such_module.so")
	checkError(t, err, "not in ", "/security")
	_, err = FindModule(filepath.Join(dir, "pam_none.so"))
	checkError(t, err, "no such file")
}

func TestAModuleIsLoadedAsPAMLoadsIt(t *testing.T) {
	permit, err := FindModule("pam_permit.so")
	if err != nil {
		t.Fatal(err)
	}
	checkError(t, LoadModule(permit))
	lacks := compile(t, "pam_lacks", "int undefined_function(void);\n"+
		"int pam_sm_authenticate(void) { return undefined_function(); }\n")
	checkError(t, InspectModule(lacks, "auth"))
	checkError(t, LoadModule(lacks), "undefined_function")
}

func compile(t *testing.T, name, source string) (library string) {
	t.Helper()
	c := filepath.Join(t.TempDir(), name+".c")
	writeFile(t, c, source)
	library = c[:len(c)-2] + ".so"
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", library, c).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return library
}
