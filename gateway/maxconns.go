package gateway

import "syscall"

// reservedFiles are kept for what is not a connection: six pipe ends for each PAM conversation
// under way, the configuration, keys, service files, listeners.
const reservedFDs = 256

// bound is how many connections there may be: want, or as many as the limit on open
// files leaves room for. The Go runtime has raised the soft limit to the hard one.
func (o Options) bound(want int) int {
	if o.MaxConns > 0 {
		return o.MaxConns
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return want
	}
	n := connsForLimit(want, limit.Cur)
	if n < want {
		o.Log.Warn("few files may be open, so there are fewer places for connections; raise the limit (LimitNOFILE, ulimit -Hn)",
			"files", limit.Cur, "connections", n)
	}
	return n
}

// connsOf leaves the reserve, but of a very low limit at least a quarter to the connections.
func connsForLimit(want int, files uint64) int {
	if files >= uint64(want+reservedFDs) {
		return want
	}
	return int(max(files/4, files-min(files, reservedFDs), 1))
}
