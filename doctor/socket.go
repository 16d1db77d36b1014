package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"dockerauth/cli"
)

// examineService looks whether a process listens where a package's web server configuration looks
// for the service.
func (c *checkup) examineService() {
	for _, path := range readUnit(c.root, socketUnit).listens {
		// not a port, and no specifier (systemd.unit(5))
		if strings.HasPrefix(path, "/") && !strings.Contains(path, "%") {
			c.examineSocket(path)
		}
	}
}

func (c *checkup) examineSocket(path string) {
	const why = "the web server answers 503"
	remedy := "systemctl start " + socketUnit
	if list := c.endpoints(); len(list) > 0 && !slices.ContainsFunc(list, func(e servedEndpoint) bool {
		return e.route.protocol != "cgi"
	}) {
		remedy = "systemctl mask " + socketUnit // the web server starts the program itself
	}
	switch _, err := os.Stat(filepath.Join(c.root, path)); {
	case errors.Is(err, fs.ErrNotExist):
		c.fail("service", "socket-missing", path+" is not there", why, remedy)
	case err != nil:
		c.notAsked(
			"service",
			fmt.Sprintf("whether a process listens at %s: %s", path, cli.Cause(err)),
			"sudo dockerauth check",
		)
	case !c.isListenedAt(path):
		c.fail("service", "socket-unattended", "nobody listens at "+path, why, remedy)
	default:
		c.ok("service", "%s is there, where the web server looks for the service", path)
	}
}

// isListenedAt asks the kernel's list first: connecting to a socket of systemd's starts the
// service. The list has the name by which a socket was made, which may differ in a container.
func (c *checkup) isListenedAt(path string) bool {
	list, _ := os.ReadFile(filepath.Join(c.root, "/proc/net/unix")) // without it: connect
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line) // proc(5): Num RefCount Protocol Flags Type St Inode Path
		if len(fields) > 7 && strings.Join(fields[7:], " ") == path && acceptsConnections(fields[3]) {
			return true
		}
	}
	conn, err := net.DialTimeout("unix", filepath.Join(c.root, path), connectTimeout)
	if err == nil {
		_ = conn.Close()
	}
	return !errors.Is(err, syscall.ECONNREFUSED)
}

// acceptsConnections reads the flags of a socket (linux/net.h, __SO_ACCEPTCON).
func acceptsConnections(flags string) bool {
	n, err := strconv.ParseUint(flags, 16, 32)
	return err == nil && n&0x10000 != 0
}
