//go:build !linux || !cgo

package pamauth

import "errors"

// LoadModule has no PAM to load anything for.
func LoadModule(string) error { return errors.New("this program was built without PAM") }
