package gateway

import "syscall"

// reservedFiles is for what is not a connection: pipes and sockets of PAM conversations,
// configuration, keys, the log, listeners.
const reservedFiles = 256

// maxConns is how many connections may be open: MaxConns, or else want, or fewer if the limit on
// open files demands it. The Go runtime has raised the soft limit to the hard one.
func (o Options) maxConns(want int) int {
	if o.MaxConns > 0 {
		return o.MaxConns
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return want
	}
	n := connsForFiles(want, limit.Cur)
	if n < want {
		o.Log.Warn("limit on open files reduces the number of connections; raise it (LimitNOFILE, ulimit -Hn)",
			"files", limit.Cur, "connections", n)
	}
	return n
}

// connsForFiles subtracts the reserve, but leaves connections at least a quarter of a low limit.
func connsForFiles(want int, files uint64) int {
	if files >= uint64(want+reservedFiles) {
		return want
	}
	return int(max(files/4, files-min(files, reservedFiles), 1))
}
