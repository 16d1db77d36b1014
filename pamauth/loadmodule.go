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

// LoadModule loads a module into this process, as libpam does (libpam/pam_dynamic.c). That runs the
// module's initialisers. So call it in a process that ends soon after and has no more rights than
// the module may have.
func LoadModule(path string) error {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if cause := C.load(name); cause != nil {
		return errors.New(C.GoString(cause))
	}
	return nil
}
