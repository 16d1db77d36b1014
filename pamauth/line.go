package pamauth

import (
	"slices"
	"strings"
)

// Line is one line of a stack. The lines of an included file replace the line that includes it. A
// substack is a line without a module, and its lines follow one level deeper.
type Line struct {
	Phase   string   // "auth" or "account"
	Control string   // "required", "[success=1 default=ignore]" or "substack"
	Module  string   // as written: a name, or an absolute path; "" = a substack begins
	Args    []string // as libpam hands them to the module: "[a b]" is "a b"
	Silent  bool     // "-auth": libpam does not log that the module is missing
	Level   int      // how many substacks it is in, which a jump or an end does not leave
	File    string   // absolute path
	Number  int      // in File, from 1
	End     int      // the line on which it ends
}

// Has reports whether an argument is among Args, such as "nodelay".
func (l Line) Has(arg string) bool {
	return slices.Contains(l.Args, arg)
}

// Value is what follows "key=" in the last such argument: "/etc/x" of "accessfile=/etc/x".
func (l Line) Value(key string) (value string, found bool) {
	for _, arg := range l.Args {
		if v, ok := strings.CutPrefix(arg, key+"="); ok {
			value, found = v, true
		}
	}
	return value, found
}

// Name is the module without folder and suffix: "pam_unix".
func (l Line) Name() string {
	return strings.TrimSuffix(l.Module[strings.LastIndexByte(l.Module, '/')+1:], ".so")
}
