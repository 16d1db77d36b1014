package pamauth

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// moduleFolders are where libpam looks for a module without a path: the folder "security" beside
// libpam itself, which each distribution sets at build time, and the old folders, which Debian's
// libpam tries too.
func moduleFolders() []string {
	folders := []string{"/lib64/security", "/lib/security", "/usr/lib64/security", "/usr/lib/security"}
	if libpam := loadedFrom("libpam.so"); libpam != "" {
		return append([]string{filepath.Join(filepath.Dir(libpam), "security")}, folders...)
	}
	return folders
}

// loadedFrom is the path of a library of this process (proc(5), maps: the last column).
func loadedFrom(library string) string {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(maps)) {
		line = strings.TrimSuffix(line, "\n")
		if i := strings.IndexByte(line, '/'); i >= 0 && strings.HasPrefix(filepath.Base(line[i:]), library) {
			return line[i:]
		}
	}
	return ""
}

// FindModule is the file that PAM loads for a module of a stack. The error lists the folders that
// it searched.
func FindModule(module string) (string, error) {
	if filepath.IsAbs(module) {
		if _, err := os.Stat(module); err != nil {
			return "", err
		}
		return module, nil
	}
	folders := moduleFolders()
	for _, folder := range folders {
		path := filepath.Join(folder, module)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("not in %s", strings.Join(folders, ", "))
}

// Modules are the names of the modules that PAM finds without a path.
func Modules() (names []string) {
	for _, folder := range moduleFolders() {
		entries, _ := os.ReadDir(folder) // a folder that is not there has none
		for _, entry := range entries {
			if strings.HasSuffix(entry.Name(), ".so") {
				names = append(names, entry.Name())
			}
		}
	}
	return names
}

// InspectModule checks, without running any of it, that a module's file is a shared library for
// this machine with the function that the phase calls.
func InspectModule(path, phase string) error {
	file, err := elf.Open(path)
	if err != nil {
		if p := (*fs.PathError)(nil); errors.As(err, &p) {
			return p.Err
		}
		return errors.New("is not a shared library")
	}
	defer file.Close()
	entry := "pam_sm_authenticate" // what libpam looks up in it
	if phase == "account" {
		entry = "pam_sm_acct_mgmt"
	}
	if want := machine(); file.Type != elf.ET_DYN || want != elf.EM_NONE && file.Machine != want {
		return fmt.Errorf("is for another architecture (%s, %s), not for %s", file.Machine, file.Class, runtime.GOARCH)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return fmt.Errorf("has no dynamic symbols: %w", err)
	}
	for _, s := range symbols {
		if s.Name == entry && s.Section != elf.SHN_UNDEF {
			return nil
		}
	}
	return fmt.Errorf("has no %s, which PAM calls for %q", entry, phase)
}

// machine is EM_NONE if this architecture is not in the list.
func machine() elf.Machine {
	switch runtime.GOARCH {
	case "amd64":
		return elf.EM_X86_64
	case "386":
		return elf.EM_386
	case "arm64":
		return elf.EM_AARCH64
	case "arm":
		return elf.EM_ARM
	case "riscv64":
		return elf.EM_RISCV
	case "ppc64le":
		return elf.EM_PPC64
	case "s390x":
		return elf.EM_S390
	}
	return elf.EM_NONE
}
