package pamauth

import (
	"slices"
	"strings"
)

// Line is one line of a stack. The lines of an included file replace the line that includes it.
type Line struct {
	Phase    string   // "auth" or "account"
	Control  string   // in lower case: "required", or "[success=1 default=ignore]"
	Module   string   // as written: a name, or an absolute path
	Args     []string // as written
	Silent   bool     // "-auth": the module may be missing
	Substack bool     // part of a substack, which a jump or an end does not leave
	File     string   // absolute path
	Number   int      // in File, from 1
}

// Has reports whether an argument is among Args, such as "nodelay".
func (l Line) Has(arg string) bool {
	return slices.Contains(l.Args, arg)
}

// Name is the module without folder and suffix: "pam_unix".
func (l Line) Name() string {
	return strings.TrimSuffix(l.Module[strings.LastIndexByte(l.Module, '/')+1:], ".so")
}
