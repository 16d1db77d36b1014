//go:build linux && cgo

package pamauth

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

static const char *load(const char *path) { return dlopen(path, RTLD_NOW) ? NULL : dlerror(); }
*/
import "C"

import (
	"errors"
	"unsafe"
)

// LoadModule loads a module into this process, as libpam does (libpam/pam_dynamic.c), and so runs what it does at that: for a process that ends soon
// after, without rights that the module's author should not have.
func LoadModule(path string) error {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if cause := C.load(name); cause != nil {
		return errors.New(C.GoString(cause))
	}
	return nil
}
