package store

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// redisTimeout is for one command, and for connecting: with a repetition both are over within
	// lockTimeout.
	redisTimeout = 400 * time.Millisecond
	// redisConnections bounds those of one process: each serves a thousand calls a second and more.
	redisConnections = 32
)

// redisAddress is what an address and its files say.
type redisAddress struct {
	options *redis.UniversalOptions
	files   [sha256.Size]byte // a hash of what they hold
}

// fileSettings are the settings that name files.
var fileSettings = []string{"password_file", "sentinel_password_file", "ca", "certificate", "key"}

// addressParts are those of an address, which with several hosts is no URL.
type addressParts struct {
	secure      bool
	user        string
	hasPassword bool        // which does not belong there
	hosts       [][2]string // name and port; one without a name is not yet an error
	rest        *url.URL    // what follows the hosts
	settings    url.Values
}

const defaultPort = "6379"

func splitAddress(address string) (parts addressParts, err error) {
	scheme, hosts, _ := strings.Cut(address, "://")
	path := ""
	if i := strings.IndexAny(hosts, "/?#"); i >= 0 {
		hosts, path = hosts[:i], hosts[i:]
	}
	parts.secure = scheme == "rediss"
	parts.rest, err = url.Parse(path)
	if err == nil {
		parts.settings, err = url.ParseQuery(parts.rest.RawQuery)
	}
	if err != nil || parts.rest.Fragment != "" || scheme != "redis" && scheme != "rediss" {
		// The cause could quote a password.
		return parts, errors.New("not redis://HOST:PORT/DATABASE?SETTING=VALUE")
	}
	if user, more, found := strings.Cut(hosts, "@"); found {
		parts.hasPassword = strings.Contains(more, "@") || strings.Contains(user, ":")
		parts.user, hosts = user, more
	}
	for host := range strings.SplitSeq(hosts, ",") {
		name, port, err := net.SplitHostPort(host)
		if err != nil {
			name, port = strings.Trim(host, "[]"), defaultPort
		}
		parts.hosts = append(parts.hosts, [2]string{name, port})
	}
	return parts, nil
}

// RedisFiles returns the paths of the files that an address names.
func RedisFiles(address string) (paths []string) {
	parts, err := splitAddress(address)
	if err != nil {
		return nil
	}
	for _, name := range fileSettings {
		paths = append(paths, parts.settings[name]...)
	}
	return paths
}

// RedisCLI returns the words of a command for redis-cli at the server of an address, and the path
// of the file with its password; "" = it has none. The place of a server that is one of several is
// in capitals.
func RedisCLI(address string) (words []string, passwordFile string) {
	words = []string{"redis-cli"}
	parts, err := splitAddress(address)
	if err != nil {
		return words, ""
	}
	name, port := parts.hosts[0][0], parts.hosts[0][1]
	if parts.settings.Has("master") || len(parts.hosts) > 1 {
		name, port = "HOST", "PORT"
	}
	words = append(words, "-h", name, "-p", port)
	if parts.user != "" && !parts.hasPassword {
		words = append(words, "--user", parts.user)
	}
	if parts.secure {
		words = append(words, "--tls")
		for _, flag := range [][2]string{{"ca", "--cacert"}, {"certificate", "--cert"}, {"key", "--key"}} {
			if path := parts.settings.Get(flag[0]); path != "" {
				words = append(words, flag[1], path)
			}
		}
	}
	return words, parts.settings.Get("password_file")
}

// RedisInClear is a host of an address to which records travel without TLS, beyond this machine; ""
// = there is none.
func RedisInClear(address string) string {
	parts, err := splitAddress(address)
	if err != nil || parts.secure {
		return ""
	}
	for _, host := range parts.hosts {
		ip := net.ParseIP(host[0])
		if host[0] != "" && host[0] != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return host[0]
		}
	}
	return ""
}

func parseRedis(address string) (redisAddress, error) {
	parts, err := splitAddress(address)
	if err != nil {
		return redisAddress{}, err
	}
	o := &redis.UniversalOptions{
		Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		DialTimeout:              redisTimeout, ReadTimeout: redisTimeout, WriteTimeout: redisTimeout,
		PoolTimeout: redisTimeout, PoolSize: redisConnections,
		DialerRetries: 1, MaxRetries: 1, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 10 * time.Millisecond,
	}
	if parts.hasPassword { // it is not quoted
		return redisAddress{}, errors.New(
			"a password stands in it\n  write it to a file, and name that with ?password_file=PATH",
		)
	}
	o.Username = parts.user
	for _, host := range parts.hosts {
		if host[0] == "" {
			return redisAddress{}, errors.New("a host is missing")
		}
		o.Addrs = append(o.Addrs, net.JoinHostPort(host[0], host[1]))
	}
	if database := strings.Trim(parts.rest.Path, "/"); database != "" {
		if o.DB, err = strconv.Atoi(database); err != nil || o.DB < 0 {
			return redisAddress{}, fmt.Errorf("%q is no number of a database", database)
		}
	}
	parsed := redisAddress{options: o}
	if err := parsed.apply(parts.settings, parts.secure); err != nil {
		return redisAddress{}, err
	}
	switch {
	case o.IsClusterMode && o.MasterName != "":
		return redisAddress{}, errors.New("master is for Sentinels, and cluster for a Cluster")
	case o.IsClusterMode && o.DB != 0:
		return redisAddress{}, errors.New("a Cluster has no databases with numbers")
	case len(o.Addrs) > 1 && !o.IsClusterMode && o.MasterName == "":
		return redisAddress{}, errors.New(
			"several hosts\n  add master=NAME if they are Sentinels, or cluster=yes if they are of a Cluster",
		)
	}
	return parsed, nil
}

// apply reads the settings, and the files that they name.
func (a *redisAddress) apply(settings url.Values, secure bool) error {
	files := map[string]string{}
	for name, values := range settings {
		value := values[0]
		switch {
		case len(values) > 1:
			return fmt.Errorf("%s stands there twice", name)
		case name == "master" && value != "":
			a.options.MasterName = value
		case name == "cluster" && (value == "yes" || value == "no"):
			a.options.IsClusterMode = value == "yes"
		case name == "master" || name == "cluster":
			return fmt.Errorf("%s is %q\n  write master=NAME, or cluster=yes", name, value)
		case !slices.Contains(fileSettings, name):
			return fmt.Errorf("unknown setting %q", name)
		case !secure && !strings.HasSuffix(name, "_file"):
			return fmt.Errorf("%s is for rediss://", name)
		case !filepath.IsAbs(value):
			return fmt.Errorf("%s: %q is not an absolute path", name, value)
		default:
			text, err := readSetting(value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if files[name] = strings.TrimRight(string(text), "\r\n"); files[name] == "" {
				return fmt.Errorf("%s: %s is empty", name, value)
			}
		}
	}
	hash := sha256.New()
	for _, name := range fileSettings {
		fmt.Fprintf(hash, "%q", files[name])
	}
	hash.Sum(a.files[:0])
	a.options.Password, a.options.SentinelPassword = files["password_file"], files["sentinel_password_file"]
	if !secure {
		return nil
	}
	return a.applyTLS(files)
}

// maxSetting bounds a file that an address names, in bytes: a list of authorities.
const maxSetting = 1 << 20

// readSetting waits for no other end of a pipe.
func readSetting(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxSetting) {
		err = fmt.Errorf("%s is no file, or longer than %d bytes", path, maxSetting)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

func (a *redisAddress) applyTLS(files map[string]string) error {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	a.options.TLSConfig = c
	if ca, named := files["ca"]; named {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return errors.New("ca: no certificate in the file")
		}
	}
	if files["certificate"] != "" || files["key"] != "" {
		pair, err := tls.X509KeyPair([]byte(files["certificate"]), []byte(files["key"]))
		if err != nil {
			return fmt.Errorf("certificate and key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return nil
}
