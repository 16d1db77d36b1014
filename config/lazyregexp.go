package config

import (
	"regexp"
	"sync"
)

// lazyRegexp compiles a regular expression at its first use: the CGI program, which uses none of
// them, starts for each request.
func lazyRegexp(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
