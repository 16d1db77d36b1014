package pamauth

import "strings"

// Line is one line of a stack. What a file includes stands in the place of the line that includes it.
type Line struct {
	Phase    string   // "auth" or "account"
	Control  string   // in lower case: "required", or "[success=1 default=ignore]"
	Module   string   // as written: a name, or an absolute path
	Args     []string // as written
	Silent   bool     // "-auth": the module may be missing
	Substack bool     // a jump or an end leaves only the substack that it is in
	File     string   // where it stands, absolute
	Number   int      // in File, from 1
}

// Has reports an argument that stands there by itself, such as "nodelay".
func (l Line) Has(arg string) bool {
	for _, a := range l.Args {
		if a == arg {
			return true
		}
	}
	return false
}

// Name is the module without folder and ending: "pam_unix".
func (l Line) Name() string {
	return strings.TrimSuffix(l.Module[strings.LastIndexByte(l.Module, '/')+1:], ".so")
}

func modulesOf(lines []Line) []string {
	names := make([]string, len(lines))
	for i, l := range lines {
		names[i] = l.Module
	}
	return names
}
