//go:build !linux

package pamauth

import "os"

func exit(status int) { os.Exit(status) }
